"""Does the run-time model predict step times of unseen networks better than single totals do?

Ours is the model that `rescale calibrate` fits on this device to its own list of networks. It then predicts
other networks, in training and in inference: larger and smaller ones, other resolutions, scaled ones and
RegNets sampled by a search; and each family by a fit without that family. All networks, in the fit or not,
are visited in one order, which is random in each round, so that drift of the machine's speed affects both
alike. The peers are power laws in one total (multiply-adds, activations, parameters) fitted to the same
measurements; the best of them is shown. Measurements are stored in --keep, so an interrupted run continues.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import finish
from rescale import machine
from rescale.bench import TimingProtocol
from rescale.bench.timing import Mode
from rescale.cost import cost
from rescale.latency import fit
from rescale.latency.calibration import TOTALS, family_of, measure, plan_of
from rescale.latency.measuring import Plan, Visit, levelled, middle
from rescale.lookup import network
from rescale.network import Network

MODES: tuple[Mode, ...] = ("train", "infer")
HELD_OUT = (
    "regnety_004@224", "regnetz_d22w24a11.9m2.407g8@192", "resnext26_32x8d@128", "efficientnet_b0-dWr-2",
    "resnet152x0.5@96", "regnetx_016@160", "efficientnet_b4@128", "regnetz_d15w32a15.5m2.196g8@176",
    "resnext101_32x4d@96", "resnetrs50x0.75@128", "regnetz_d17w24a21.9m2.464g16@112", "regnety_008@224",
    "regnetx_002@128", "regnetz_d16w16a12.2m2.067g24@208", "efficientnet_b0@160", "regnetx_008@224",
    "resnext50_32x4d@128", "resnet50x0.5@224", "efficientnet_b0-w-0.5", "resnetrs26x0.5@224",
    "resnet3-3-3-3x0.75@160", "regnetx_d12w32a57.3m2.899g16@96", "regnetz_500mf@256",
    "regnetx_d16w24a16.7m2.165g24@112", "regnety_032@128", "regnety_500mf-dWr-2", "resnetrs152x0.25@128",
    "regnety_d23w24a12.5m2.681g56@192", "regnety_016@160", "regnetx_004@160", "regnetz_500mf_g1@224",
    "regnetz_500mf-dWr-0.5", "regnety_d24w16a17.9m2.643g16@208", "resnext50_8x8d@128",
    "efficientnet_b0@192", "regnetx_d27w16a12.8m2.951g8@128", "efficientnet_b2@192",
    "regnety_d15w16a11.4m2.126g64@176", "resnet101@96", "regnety_d20w16a12.3m2.814g8@160",
)  # fmt: skip
FAMILIES = ("resnet", "resnet-rs", "resnext", "efficientnet", "regnetx", "regnety", "regnetz")
TITLES = {"macs": "multiply-adds", "activations": "activations", "params": "parameters"}

Times = tuple[list[Network], np.ndarray]  # networks, and the seconds of a step of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only the cheapest networks, once: too few for conclusions; under 50 s",
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--keep", type=Path, help="folder for the measurements; default: a temporary one")
    parser.add_argument("--plot", type=Path, help="draw predicted against measured, .png or .svg")
    options = parser.parse_args()
    machine.keep_memory()
    seen, unseen, plan = plans(options.batch, options.quick)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = measure(plan, folder / "visits.jsonl", progress)
    used = {**rows[0]["machine"], **rows[0]["used"], "date": rows[0]["date"]}
    visits = levelled([Visit(**values) for row in rows for values in row["visits"]])
    times = {mode: (table(seen, visits, mode), table(unseen, visits, mode)) for mode in MODES}
    predictions = {mode: by_predictor(*times[mode], options.batch) for mode in MODES}
    if options.plot:
        draw(times, predictions, options.plot, used)
    finish(
        summary(predictions, {mode: times[mode][1] for mode in MODES}),
        visits=plan.visits,
        second_visit_off={mode: second_visits(visits, mode) for mode in MODES},
        **details(times, predictions),
    )


def plans(batch: int, quick: bool) -> tuple[tuple[Network, ...], tuple[Network, ...], Plan]:
    """The networks of the fit, the held-out networks, and the plan that visits all of them."""
    plan = plan_of(TimingProtocol(batch=batch, device=machine.default_device()), MODES)
    seen, unseen = plan.networks, tuple(map(network, HELD_OUT))
    if quick:
        seen, unseen = cheapest(seen, 14), cheapest(unseen, 6)
        few = replace(plan.protocol, warmup=1, repeats=3)
        plan = replace(plan, visits=1, tries=1, protocol=few)
    return seen, unseen, replace(plan, networks=(*seen, *unseen))


def cheapest(networks: Sequence[Network], count: int) -> tuple[Network, ...]:
    """The networks with the fewest multiply-adds."""
    return tuple(sorted(networks, key=lambda net: cost(net).macs)[:count])


def progress(done: int, of: int) -> None:
    print(f"{done} of {of} visits", flush=True)


def table(networks: Sequence[Network], visits: Mapping[tuple[str, Mode], list[float]], mode: Mode) -> Times:
    """Networks with their times, each the geometric mean of its visits."""
    return list(networks), np.array([middle(visits[net.name, mode]) for net in networks])


def second_visits(visits: Mapping[tuple[str, Mode], list[float]], mode: Mode) -> float | None:
    """Median relative difference between the second and the first visit."""
    medians = [values for (_, of), values in visits.items() if of == mode and len(values) > 1]
    errors = [abs(values[1] / values[0] - 1) for values in medians]
    return round(float(np.median(errors)), 4) if errors else None


def by_predictor(seen: Times, unseen: Times, batch: int) -> dict[str, dict[str, np.ndarray]]:
    """Predictions by predictor: for the unseen networks, and for all by fits without their family."""
    fitters = {"work": fit.by_work(batch), **{total: fit.by_total(total) for total in TOTALS}}
    networks, seconds = [*seen[0], *unseen[0]], np.concatenate([seen[1], unseen[1]])
    families = [family_of(net.name) for net in networks]
    return {
        predictor: {
            "networks": fitter(*seen)(unseen[0]),
            "families": fit.held_out(networks, seconds, families, fitter),
        }
        for predictor, fitter in fitters.items()
    }


def measured(seen: Times, unseen: Times) -> dict[str, np.ndarray]:
    """The measured times that the predictions are compared with."""
    return {"networks": unseen[1], "families": np.concatenate([seen[1], unseen[1]])}


def summary(predictions: Mapping[Mode, Any], unseen: Mapping[Mode, Times]) -> dict[str, Any]:
    """Median errors on unseen networks, training and inference together: ours and the best total's."""
    errors = {
        predictor: np.concatenate(
            [np.abs(predictions[mode][predictor]["networks"] / unseen[mode][1] - 1) for mode in MODES]
        )
        for predictor in ("work", *TOTALS)
    }
    peer = min(TOTALS, key=lambda total: float(np.median(errors[total])))
    rng, n = np.random.default_rng(0), len(errors["work"])
    drawn = [rng.integers(n, size=n) for _ in range(1000)]
    ratios = [float(np.median(errors[peer][i]) / np.median(errors["work"][i])) for i in drawn]
    first, third = np.quantile(ratios, [0.25, 0.75])
    return {
        "question": f"Median error of predicted step times of unseen networks, against {TITLES[peer]} alone",
        "ours": round(float(100 * np.median(errors["work"])), 2),
        "peer": round(float(100 * np.median(errors[peer])), 2),
        "ratio": round(float(np.median(errors[peer]) / np.median(errors["work"])), 3),
        "unit": "%",
        "n": n,
        "spread": [round(float(first), 3), round(float(third), 3)],
    }


def details(times: Mapping[Mode, tuple[Times, Times]], predictions: Mapping[Mode, Any]) -> dict[str, Any]:
    """Errors by mode, predictor and held-out part."""
    return {
        mode: {
            predictor: {
                part: {
                    key: round(value, 4)
                    for key, value in fit.errors(predicted, truth[part])._asdict().items()
                }
                for part, predicted in by_part.items()
            }
            for predictor, by_part in predictions[mode].items()
        }
        for mode, (seen, unseen) in times.items()
        for truth in [measured(seen, unseen)]
    }


def draw(
    times: Mapping[Mode, tuple[Times, Times]],
    predictions: Mapping[Mode, Any],
    path: Path,
    used: Mapping[str, Any],
) -> None:
    """Plot predicted against measured times, one row per mode: ours, and those of the best total."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 8.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, sharex="row", sharey="row")
    for row, mode in zip(axes, MODES, strict=True):
        networks, seconds = times[mode][1]
        predicted = {name: predictions[mode][name]["networks"] for name in ("work", *TOTALS)}
        errors = {name: fit.errors(values, seconds) for name, values in predicted.items()}
        peer = min(TOTALS, key=lambda total: errors[total].median)
        for axis, name, heading in zip(
            row, ("work", peer), ("the list of layers", f"{TITLES[peer]} alone"), strict=True
        ):
            panel(axis, networks, 1e3 * seconds, 1e3 * predicted[name])
            median, rank = errors[name].median, errors[name].spearman
            title = f"{mode}: {heading}\nmedian error {100 * median:.1f} %, rank {rank:.2f}"
            axis.set_title(title, fontsize=10, loc="left")
        row[0].set_ylabel(
            f"predicted: ms a step of {mode}ing" if mode == "train" else "predicted: ms a forward pass"
        )
    for axis in axes.flat:
        axis.set_xlabel("measured, ms (grey: within 10 %)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    counts = ", ".join(f"{mode} {len(times[mode][1][0])}" for mode in MODES)
    about = f"{used['device']}, {used['threads']} threads, {used['precision']}, torch {used['torch']}"
    figure.suptitle(f"Step times of networks that the fit has not seen ({counts})\n{about}", fontsize=10)
    figure.savefig(path)


def panel(axes: Any, networks: Sequence[Network], measured_ms: np.ndarray, predicted_ms: np.ndarray) -> None:
    """One cloud of points, a colour and a mark a family."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    from rescale.report.plots import style

    low, high = measured_ms.min() / 1.5, measured_ms.max() * 1.5
    line = np.array([low, high])
    axes.fill_between(line, 0.9 * line, 1.1 * line, color="#dddddd", linewidth=0)
    axes.plot(line, line, color="#999999", linewidth=0.8)
    for i, family in enumerate(FAMILIES):
        own = [j for j, net in enumerate(networks) if family_of(net.name) == family]
        colour, marker = style(i)
        axes.plot(measured_ms[own], predicted_ms[own], marker, color=colour, label=family, markersize=5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlim(low, high)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
