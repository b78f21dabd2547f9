"""rescale quickstart: a small Pareto study on handwritten digits, with a report."""

from pathlib import Path
from typing import Annotated

import typer

# For scans of 8 x 8 pixels: three stages, a stem of stride 1, and a last map of at least 2 x 2. By falling
# training time, so that two parallel jobs end together; depth, width and resolution differ.
NETWORKS = (
    "resnetrs2-2-2x0.25+smallstem@8",
    "resnetrs1-1-1x0.125+smallstem@12",
    "resnetrs2-2-2x0.125+smallstem@8",
    "resnetrs1-1-1x0.25+smallstem@8",
    "resnetrs1-1-1x0.125+smallstem@8",
    "resnetrs1-1-1x0.0625+smallstem@8",
)
TIMM = ("timm:test_efficientnet@32", "timm:test_resnet@32")
CUT = {  # departures from the resnet-rs recipe, and why
    "batch=32": "4096 images are more than there are",
    "flip=0": "a mirrored digit is another digit",
    "crop_area_min=0.8": "a small part of a digit does not say which it is",
    "eval_crop=1": "a digit fills its scan: the centre crop would leave out a pixel on each side",
}


def quickstart(
    out: Annotated[Path, typer.Option(help="The study's folder; repeat the command to continue.")] = Path(
        "quickstart"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Epochs per training; the recipe has 350.")] = 10,
    jobs: Annotated[int, typer.Option(min=0, help="Parallel trainings; 0: one per core.")] = 0,
) -> None:
    """Train eight small networks on scikit-learn's handwritten digits, time them and draw the Pareto curve.

    Downloads nothing; takes about three minutes on two cores of an old CPU.

    Example: rescale quickstart --out quickstart
    """
    import sys
    from importlib.util import find_spec

    from rescale.bench import TimingProtocol
    from rescale.cli.studies import carry_out, command_line
    from rescale.studies import Settings, pareto_plan

    changes = {f"epochs={epochs}": "350 epochs take hours here", **CUT}
    with_timm = find_spec("timm") is not None
    print("Handwritten digits, the resnet-rs recipe cut to a short run. Departures from the recipe:")
    for change, why in changes.items():
        print(f"  {change:18s} {why}")
    if not with_timm:
        print("timm is not installed, so its two networks are left out (pip install 'rescale-vision[timm]')")
    plan = pareto_plan(
        [*NETWORKS, *(TIMM if with_timm else ())],
        ["resnet-rs"],
        "digits",
        changes=list(changes),
        timing=TimingProtocol(batch=64, repeats=15),
        title="Handwritten digits: speed and accuracy of small ResNets",
        command=command_line(sys.argv[1:]),
        notes=[f"{change}: {why}" for change, why in changes.items()],
    )
    carry_out(out, plan, Settings(jobs or None, "cpu", eval_epochs=5))
