"""How long does a command take before its work begins?

Each command runs in a new process, all of them in every round, so that disturbances affect all alike.

    python benchmarks/startup.py
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from harness import finish
from rescale.bench.timing import quartiles

MISTAKES = {  # seconds at most: a mistake is found before torch is imported
    "--version": 1.0,
    "--help": 1.0,
    "train resnetrs50 --data no/such/images --out a": 1.0,
    "train resnetrs50 --data digits --recipe resnet-sr --out a": 1.0,
    "train resnetrs50 --data digits --set epoch=3 --out a": 1.0,
    "train resnetsr50 --data digits --out a": 1.0,
    "data info no/such/images": 1.0,
    "data info digits": 1.0,
    "cost resnetrs152@256": 1.0,
}
WORKER = (
    "import rescale.studies.worker\nfrom rescale.imports import faster_imports\n"
    "with faster_imports():\n"
    "    import rescale.training, rescale.recipes\n"
    "    from rescale.models import build\n    from rescale.data import open_data\n"
    "open_data('digits'); build(rescale.network('resnetrs1-1x0.125@32'))"
)
IMPORTS = {  # seconds at most beyond `import torch`
    "import rescale.data; rescale.data.batches": 0.5,
    WORKER: 0.5,
}


def seconds(*words: str, folder: str) -> float:
    """Wall time of a Python process."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - begin


def measured(rounds: int) -> dict[str, list[float]]:
    """Seconds of each command line and each piece of code, one value for each round."""
    codes = ["import torch", *IMPORTS]
    times: dict[str, list[float]] = {name: [] for name in (*MISTAKES, *codes)}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            for line in MISTAKES:
                times[line].append(seconds("-m", "rescale", *line.split(), folder=folder))
            for code in codes:
                times[code].append(seconds("-c", code, folder=folder))
            if number == 0:  # the first round reads all files from the disk
                for values in times.values():
                    values.clear()
    return times


def main() -> None:
    """Measure, print a line for each, and end with 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round")
    times = measured(1 if parser.parse_args().quick else 5)
    torch = times["import torch"]
    limits = {**MISTAKES, **{code: extra + statistics.median(torch) for code, extra in IMPORTS.items()}}
    rows = []
    for name, values in times.items():
        first, median, third = quartiles(values)
        row = {
            "what": "a study's worker, up to the optimizer" if name == WORKER else name,
            "seconds": round(median, 3),
            "spread": [round(first, 3), round(third, 3)],
            "limit": round(limits[name], 3) if name in limits else None,
        }
        rows.append(row)
        print(json.dumps(row), file=sys.stderr)
    late = [row["what"] for row in rows if row["limit"] is not None and row["seconds"] > row["limit"]]
    question = " ".join((__doc__ or "").split("\n")[0].split())
    finish({"question": question, "n": len(torch), "unit": "s", "rows": rows, "above the limit": late})
    sys.exit(bool(late))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
