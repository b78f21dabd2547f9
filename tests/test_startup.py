"""Start-up: arguments are checked before anything heavy is imported; what is imported is needed."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rescale.imports import faster_imports

HEAVY = (
    "torch", "torch._dynamo", "torchvision", "torchvision.models", "timm", "pyarrow", "sklearn", "scipy",
    "matplotlib", "PIL.Image", "tensorboard",
)  # fmt: skip

MISTAKES = {  # a command line: a part of its message
    "train resnetsr50 --data digits --out a": "resnetrs50",
    "train resnetrs50 --data no/such/images --out a": "no: no such data",
    "train resnetrs50 --recipe resnet-sr --data digits --out a": "resnet-rs",
    "train resnetrs50 --data digits --set epoch=3 --out a": "did you mean 'epochs'",
    "train resnetrs50 --data digits --set epochs=x --out a": "epochs",
    "train resnetrs50 --data digits --set task.name=detection --out a": "no task is named 'detection'",
    "train resnetrs50 --data digits --out a --weights none.pth": "none.pth: no such file",
    "train resnetrs50 --data digits --out a --on-bad-image ignore": "use raise or skip",
    "train resnetrs50 --data digits --out a --fast channel_last": "did you mean 'channels_last'",
    "train resnetrs50 --data digits": "--out missing",
    "train --resume no/run": "no/run: no such folder",
    "train --resume .": ".: no run is here (a run folder holds run.json)",
    "train resnet50 --data digits --out a/run": "a/run: holds a run; continue it with --resume a/run",
    "train resnet50 --data digits --out a/run/run.json": "run.json: is a file; give a folder",
    "train resnet50 --data digits --out full": "full: is not empty; give a folder that is empty",
    "import . --model resnet50 -o full": "full: is not empty; give a folder that is empty",
    "eval no/run": "no/run: no such folder",
    "import none.pth --model resnet50 -o a": "none.pth: no such file",
    "import . --model resnet51 -o a": "did you mean",
    "export-weights no/run -o a": "no/run: no such folder",
    "data info no/such": "no: no such data",
    "data verify no/such": "no: no such data",
    "data show no/such": "no: no such data",
    "data show digits --model resnet51": "did you mean",
    "bench resnetsr50": "resnetrs50",
    "bench resnet50 --recipe resnet-sr": "resnet-rs",
    "bench resnet50 --mode training": "did you mean 'train'",
    "calibrate --mode all": "known",
    "calibrate --fast auto": "covers one execution mode",
    "study pareto --models resnetsr50 --data no/such --recipe x/y.yaml --out a": "resnetrs50",
    "study pareto --models resnet50 --data digits --set epoch=3 --out a": "did you mean 'epochs'",
    "study run no/study": "no/study: no study here",
    "report no/study": "no/study: no study here",
    "recipes resnet-sr": "resnet-rs",
    "recipes resnet-rs --model resnet51": "did you mean",
    "cost resnet51": "did you mean",
    "show resnet51": "did you mean",
    "scale resnet51 --factor 2": "did you mean",
    "search regnetw --macs 1G": "did you mean",
    "scale resnet50 --latency 20ms --device none.json": "rescale calibrate --out none.json",
}

RUN = """
import contextlib, io, json, sys
from rescale.cli import main
results = {}
for line in json.loads(sys.stdin.read()):
    sys.argv, errors = ["rescale", *line.split()], io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
    results[line] = [code, errors.getvalue(), sorted(set(sys.modules) & set(HEAVY))]
print(json.dumps(results))
"""


def python(code: str, given: str = "", folder: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], input=given, cwd=folder, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    """Exit code, message and heavy modules by command line, all in one process: the modules add up."""
    code, folder = RUN.replace("HEAVY", repr(HEAVY)), tmp_path_factory.mktemp("folder")
    (folder / "a/run").mkdir(parents=True)
    (folder / "a/run/run.json").touch()
    (folder / "full").mkdir()
    (folder / "full/notes.txt").touch()
    return json.loads(python(code, json.dumps(list(MISTAKES)), folder))


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes_are_found_before_heavy_imports(line: str, outcomes: dict) -> None:
    code, message, heavy = outcomes[line]
    assert code == 2 and MISTAKES[line] in message
    assert heavy == []


def test_all_mistakes_of_a_study_are_reported_together(outcomes: dict) -> None:
    _, message, _ = outcomes["study pareto --models resnetsr50 --data no/such --recipe x/y.yaml --out a"]
    assert len(message.splitlines()) == 3
    assert all(part in message for part in ("'resnetsr50'", "no: no such data", "x/y.yaml"))


def modules_after(code: str, *names: str) -> list[str]:
    """Which of these modules are imported by a piece of code."""
    return json.loads(
        python(f"{code}\nimport json, sys\nprint(json.dumps(sorted(set(sys.modules) & {set(names)})))")
    )


def test_opening_data_needs_no_torch(tmp_path: Path) -> None:
    from PIL import Image

    for i, name in enumerate(("cat", "dog")):
        for k in range(3):
            path = tmp_path / name / f"{k}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (i, k, 0)).save(path)
    code = f"from rescale.data import open_data\nopen_data({str(tmp_path)!r}); open_data('digits')"
    assert modules_after(code, "torch", "torchvision", "sklearn", "matplotlib") == []


def test_loading_data_needs_torch_alone() -> None:
    names = ("torchvision", "torch._dynamo", "sklearn", "tensorboard", "matplotlib", "timm")
    code = "from rescale.data import batches\nimport rescale.data.augment.pipeline"
    assert modules_after(code, "torch", *names) == ["torch"]


def test_a_studys_worker_imports_what_it_needs() -> None:
    """Up to the optimizer, which imports torch._dynamo."""
    code = (
        "import rescale.studies.worker, rescale.training, rescale.models, rescale.recipes\n"
        "from rescale.models import build\n"
        "from rescale.data import open_data\n"
        "open_data('digits'); build(rescale.network('resnetrs1-1x0.125@32'))"
    )
    names = (
        "torchvision",
        "torch._dynamo",
        "sklearn",
        "scipy",
        "tensorboard",
        "matplotlib",
        "timm",
        "jinja2",
        "sympy",
        "triton",
    )
    assert modules_after(code, *names, "rescale.studies.runner", "rescale.report") == []


def test_describing_data_needs_no_torch() -> None:
    code = (
        "import sys\nfrom rescale.cli import main\nsys.argv = ['rescale', 'data', 'info', 'digits']\n"
        "sys.stdout = sys.stderr\ntry: main()\nexcept SystemExit: pass\nsys.stdout = sys.__stdout__"
    )
    assert modules_after(code, "torch", "torchvision", "sklearn") == []


def test_a_studys_worker_needs_little_before_the_optimizer() -> None:
    names = (
        "rich",
        "pyarrow",
        "torchvision",
        "torch._dynamo",
        "sklearn",
        "tensorboard",
        "matplotlib",
        "timm",
    )
    code = (
        "import rescale.studies.worker, rescale.training, rescale.recipes\nfrom rescale.models import build"
    )
    assert modules_after(code, "torch", *names) == ["torch"]


def test_the_collector_is_paused_for_imports_alone() -> None:
    """Inside it does not run, also if an import fails; outside it is as it was."""
    with faster_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), faster_imports():
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with faster_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
