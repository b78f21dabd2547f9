"""Draw studies that train one network in several ways: held-out and training accuracy of every run.

python scripts/plot_recipes.py studies/randaugment -o docs/results/recipes.png
"""

import argparse
from pathlib import Path
from textwrap import wrap

from matplotlib.figure import Figure

from rescale.data import DataSpec
from rescale.studies import StudyFolder
from rescale.training import Run

COLOURS = ("#0072B2", "#D55E00")


def main() -> None:
    """Read the arguments, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    figure = Figure(figsize=(6.6 * len(given.studies), 3.8), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(given.studies), squeeze=False, sharey=True)[0]
    for axis, path in zip(axes, given.studies, strict=True):
        draw(axis, path)
    figure.savefig(given.out)
    print(given.out)


def draw(axis, path: Path) -> None:
    """One study: a column for each label."""
    plan = StudyFolder(path).plan
    for column, network in enumerate(plan.labels):
        runs = [Run.open(path / "runs" / item.name) for item in plan.of(network)]
        held = [run.result["figures"]["top1"] for run in runs]
        trained = [trained_to(run) for run in runs]
        for shift, values, filled, what in (
            (-0.08, held, True, "held-out"),
            (0.08, trained, False, "training"),
        ):
            colour = COLOURS[column % 2]
            face = colour if filled else "white"
            label = what if column == 0 else None
            axis.plot(
                [column + shift] * len(values), values, "o", color=colour, markerfacecolor=face, label=label
            )
        mean = sum(held) / len(held)
        axis.annotate(f"{mean:.1f} %", (column - 0.16, mean), ha="right", va="center", fontsize=10)
    changes = ", ".join(plan.shared_changes)
    about = f"{plan.items[0].model}, {DataSpec.of(plan.items[0].data).name}; {changes}; {len(runs)} seeds"
    axis.set_title("\n".join(wrap(about, 90)), fontsize=8.5)
    axis.set_xticks(range(len(plan.labels)), [label.replace(" + ", "\n+ ") for label in plan.labels])
    axis.set_xlim(-0.6, len(plan.labels) - 0.4)
    if axis.get_subplotspec().is_first_col():
        axis.set_ylabel("top-1, % (training: augmented, last epoch)")
    axis.grid(axis="y", color="0.9")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)


def trained_to(run: Run) -> float:
    """Training accuracy, the mean of the last epoch's rows."""
    rows = [row for row in run.metrics() if row["kind"] == "train"]
    last = [row["top1"] for row in rows if row["epoch"] == rows[-1]["epoch"]]
    return sum(last) / len(last)


if __name__ == "__main__":
    main()
