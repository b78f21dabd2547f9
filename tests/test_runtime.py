"""The run-time model: its work, its fit, its file; scaling and searching by it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from fake_runtime import SOME, runtime
from rescale.bench.timing import TimingProtocol
from rescale.cost import cost
from rescale.errors import UserError
from rescale.geometry import layers
from rescale.latency import RuntimeModel, calibration, scale_to_latency
from rescale.latency import fit as fitting
from rescale.latency.measuring import Visit, levelled, visit
from rescale.latency.work import FIXED, WORK, work
from rescale.lookup import names, network
from rescale.network import Network
from rescale.scaling import scale, scaled, solve, strategy_of
from rescale.scaling.factor import jumps
from rescale.search import Space, search
from test_network import any_networks

EVERYTHING = runtime(dict.fromkeys(WORK, 1e-9))
ONE = {mode: runtime({mode: 1.0}) for mode in WORK}


def amounts(net: Network) -> dict[str, float]:
    return dict(zip(WORK, work(net), strict=True))


def test_work_of_a_network_counted_by_hand() -> None:
    """resnet1-1x0.125@32: widths 8 and 32, 16 and 64; the map is 8 pixels wide behind the stem."""
    counts = amounts(network("resnet1-1x0.125@32"))
    # stem 7x7 of stride 2 on 3 channels, 8 wide, 16 x 16; the pool halves it
    assert counts["stem macs"] == 3 * 49 * 8 * 256 and counts["stem moved"] == 3 * 1024 + 8 * 256
    assert counts["pooled"] == 8 * (256 + 64)
    # both blocks: 3x3 of 8 and of 16 channels, the second with stride 2
    assert counts["dense macs"] == 9 * 8 * 8 * 64 + 9 * 16 * 16 * 16
    assert counts["dense moved"] == (8 + 8) * 64 + 16 * 64 + 16 * 16
    # 1x1: 8 -> 8, 8 -> 32, shortcut 8 -> 32; 32 -> 16, 16 -> 64, shortcut 32 -> 64
    assert counts["pointwise macs"] == 64 * (64 + 256 + 256) + 32 * 16 * 64 + (16 * 64 + 32 * 64) * 16
    assert counts["relu"] == 8 * 256 + (8 + 8 + 32) * 64 + 16 * 64 + 16 * 16 + 64 * 16
    assert counts["added"] == 32 * 64 + 64 * 16
    assert (counts["convolutions"], counts["others"], counts["squeezes"]) == (9, 3, 0)
    params = cost(network("resnet1-1x0.125@32")).params
    assert counts["weights"] == params - 1000 - 2 * (8 + 48 + 32 + 96 + 64)


def test_multiply_adds_are_those_of_cost() -> None:
    """By an independent count, without the head and squeeze-and-excitation, which count as weights."""
    for name in ("resnetrs50", "efficientnet_b0", "regnety_500mf", "resnext50_32x4d", "regnetz_500mf_g1"):
        net = network(name)
        counts = amounts(net)
        normed = sum(
            x.width_in // x.groups * x.width_out * x.kernel.height**2 * x.map_out.height**2
            for x in layers(net)
            if x.norm
        )
        assert sum(counts[kind] for kind in WORK if kind.endswith(" macs")) == normed


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("regnetx_d17w24a20.1m2.705g16@96", "grouped"),
        ("regnetx_d17w24a20.1m2.705g8@96", "uneven"),
        ("regnety_500mf", "uneven"),
        ("efficientnet_b0", "depthwise"),
        ("resnet50", "dense"),
    ],
)
def test_kinds_of_convolutions(name: str, kind: str) -> None:
    counts = amounts(network(name))
    kinds = ("grouped", "uneven", "depthwise", "dense")
    assert {other for other in kinds if counts[f"{other} macs"]} == {kind}


@pytest.mark.parametrize("name", names())
def test_every_named_network_has_a_time(name: str) -> None:
    net = network(name)
    assert 0 < EVERYTHING.seconds(net, "infer") < EVERYTHING.seconds(net, "train") < 1e5


@given(any_networks())
@settings(max_examples=60, deadline=None)
def test_any_network_has_a_time_and_one_block_more_takes_longer(net: Network) -> None:
    deeper = replace(net, stages=(*net.stages[:-1], replace(net.stages[-1], depth=net.stages[-1].depth + 1)))
    model = runtime(SOME)
    assert 0 < model.seconds(net) < model.seconds(deeper) < np.inf


def test_times_add_up_over_blocks_and_with_the_batch() -> None:
    model, net = runtime(SOME), network("regnety_500mf")
    seconds = [
        model.seconds(replace(net, stages=(*net.stages[:-1], replace(net.stages[-1], depth=depth))))
        for depth in (3, 4, 5)
    ]
    assert seconds[2] - seconds[1] == pytest.approx(seconds[1] - seconds[0])
    at = [model.seconds(net, "infer", batch) for batch in (0, 1, 2, 8)]
    assert at[2] - at[1] == pytest.approx(at[1] - at[0]) and at[3] == model.seconds(net)
    fixed = sum(SOME.get(kind, 0) * amount for kind, amount in list(amounts(net).items())[FIXED:])
    assert at[0] == pytest.approx(fixed)


def test_a_prediction_imports_nothing_heavy(tmp_path) -> None:
    import subprocess
    import sys

    path = tmp_path / "device.json"
    runtime().write(path)
    code = (
        "import sys; sys.argv = ['rescale', 'cost', 'resnet50', 'efficientnet_b0', '--device', sys.argv[1]]\n"
        "from rescale.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'numpy', 'scipy', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert "infer" in output and output.endswith("HEAVY []\n")


# --- the fit


def some_networks(count: int, seed: int = 0) -> list[Network]:
    networks = []
    for kind in "xyz":
        space = Space(kind, resolution=(64, 224))
        networks += search(space, {"macs": 4e8}, count // 3, seed, band=0.9).networks
    return [
        *networks,
        *map(network, ("resnet50", "resnetrs50", "efficientnet_b0", "resnext50_32x4d", "resnet18")),
    ]


def test_the_fit_recovers_known_coefficients() -> None:
    """A closed form: without noise, and with more networks than kinds of work, there is one answer."""
    table = np.random.default_rng(0).uniform(0.1, 10, (80, len(WORK)))
    truth = np.random.default_rng(1).uniform(0.5, 2, len(WORK))
    truth[3] = 0  # at the boundary
    fitted = fitting.coefficients(table, table @ truth, ridge=0)
    assert fitted == pytest.approx(truth, rel=1e-6, abs=1e-9)


def test_a_few_outliers_hardly_change_the_fit() -> None:
    rng = np.random.default_rng(0)
    table, truth = rng.uniform(0.1, 10, (80, 6)), np.array([1.0, 2, 3, 0.5, 1, 2])
    seconds = table @ truth * rng.normal(1, 0.01, 80)
    seconds[:4] *= 3
    assert fitting.coefficients(table, seconds) == pytest.approx(truth, rel=0.1)


def test_left_out_networks_are_predicted_and_better_than_by_totals() -> None:
    nets, model = some_networks(60), runtime(SOME)
    seconds = np.array([model.seconds(net) for net in nets])
    folds = [i % 8 for i in range(len(nets))]
    fitters = {
        "work": fitting.by_work(8),
        "macs": fitting.by_total("macs"),
        "activations": fitting.by_total("activations"),
    }
    errors = {
        predictor: fitting.errors(fitting.held_out(nets, seconds, folds, fitter), seconds)
        for predictor, fitter in fitters.items()
    }
    assert errors["work"].median < 0.02 and errors["work"].spearman > 0.99
    assert errors["macs"].median > 0.03 and errors["activations"].median > 0.03


def test_held_out_networks_are_not_in_the_fit() -> None:
    nets = [network(f"resnet26@{size}") for size in (64, 96, 128, 160)]
    fitted_to = []

    def fitter(others, seconds):
        fitted_to.append({net.name for net in others})
        return lambda unseen: np.array([float(net.resolution) for net in unseen])

    predictions = fitting.held_out(nets, np.ones(4), ["a", "b", "a", "b"], fitter)
    assert list(predictions) == [64, 96, 128, 160]
    assert {frozenset(names) for names in fitted_to} == {
        frozenset({"resnet26@96", "resnet26@160"}), frozenset({"resnet26@64", "resnet26@128"}),
    }  # fmt: skip


def test_a_power_of_a_total_is_found() -> None:
    nets = [network(f"resnet26@{size}") for size in (64, 96, 128, 160, 224)]
    seconds = np.array([3e-9 * cost(net).macs ** 0.8 for net in nets])
    predict = fitting.by_total("macs")(nets, seconds)
    assert predict([network("resnet50")]) == pytest.approx([3e-9 * cost(network("resnet50")).macs ** 0.8])


def test_errors_counted_by_hand() -> None:
    """Off by 0, 9, 20 and 0 %; in the right order."""
    errors = fitting.errors(np.array([1.0, 2.18, 2.4, 4.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert errors == pytest.approx((4, 0.045, 0.167, 0.75, 1.0))


# --- the clock


def test_a_visit_keeps_steps_and_what_lies_between() -> None:
    calls: list[str] = []
    protocol = TimingProtocol(warmup=2, repeats=4)
    visited = visit(
        network("resnet26@64"),
        protocol,
        lambda: calls.append("step"),
        lambda: calls.append("stick"),
        lambda: None,
    )
    assert calls == ["step"] * 2 + ["stick"] * 3 + ["step", "stick"] * 4
    assert len(visited.seconds) == 4 and len(visited.yardstick) == 5 and visited.mode == "train"


def test_levelling_removes_the_machines_changes_of_speed() -> None:
    rng = np.random.default_rng(0)
    visits = []
    for i in range(20):
        speed = np.exp(rng.normal(0, 0.3, 11))  # of the machine at the yardstick; steps lie between
        seconds = (1 + i) * np.sqrt(speed[1:] * speed[:-1]) ** 0.8
        visits.append(Visit(f"net{i}", "infer", tuple(seconds), tuple(0.002 * speed)))
    times = levelled(visits)
    measured = np.array([times[f"net{i}", "infer"][0] for i in range(20)])
    assert np.std(np.log(measured / np.arange(1, 21))) < 0.02
    raw = np.array([np.median(visit_.seconds) for visit_ in visits])
    assert np.std(np.log(raw / np.arange(1, 21))) > 0.05


def test_a_steady_machine_is_left_alone() -> None:
    times = levelled([Visit("a", "infer", (1.0, 2.0, 3.0), (0.5,) * 4)])
    assert times["a", "infer"] == pytest.approx([2])


# --- the file


def test_a_device_file_survives_json(tmp_path) -> None:
    model = runtime()
    model.write(tmp_path / "device.json")
    read = RuntimeModel.read(tmp_path / "device.json")
    assert read == model and read.seconds(network("resnet50"), "train") == model.seconds(
        network("resnet50"), "train"
    )


def damaged(**changes: object) -> str:
    return json.dumps(json.loads(runtime().to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "rescale calibrate --out"),
        ("{", "not a device file"),
        ("[1]", "not a device file"),
        ('{"format": "something"}', "not a device file"),
        (damaged(version=99), "has version 99, this program reads version 1;"),
        (damaged(coefficients={"infer": {"relu": 1}}), "damaged"),
        (damaged(points=[{"network": 1}]), "damaged"),
        (damaged(errors=3), "damaged"),
        (damaged(coefficients={"infer": dict.fromkeys(WORK, -1.0)}), "not a finite time"),
        (damaged(coefficients={"infer": dict.fromkeys(WORK, float("nan"))}), "not a finite time"),
    ],
)
def test_invalid_device_files(tmp_path, text: str | None, words: str) -> None:
    path = tmp_path / "device.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        RuntimeModel.read(path)
    assert len(caught.value.lines) == 1 and "device.json" in str(caught.value)


def test_a_mode_that_was_not_calibrated() -> None:
    model = replace(runtime(), coefficients={"infer": runtime().coefficients["infer"]})
    with pytest.raises(UserError, match="no calibration for train"):
        model.seconds(network("resnet50"), "train")


# --- scaling to a latency


def test_solving_for_a_latency_agrees_with_brute_force() -> None:
    net, strategy, model = network("regnety_500mf"), strategy_of("dWr"), runtime()
    target = 2.5 * model.seconds(net)
    solved = solve(net, strategy, model.seconds, target)
    candidates = [scaled(net, strategy, f) for f in np.exp(np.linspace(np.log(0.5), np.log(12), 4000))]
    best = min(abs(model.seconds(candidate) - target) for candidate in candidates)
    assert abs(solved.reached - target) <= best * (1 + 1e-9)
    assert len(jumps(net, strategy, 0.5, 12)) > 20  # there was something to choose from
    assert scale(net, "dWr", latency=target, runtime=model) == solved.network


@pytest.mark.parametrize("factor", [0.6, 1.7, 3.0])
def test_a_wrong_model_is_corrected_by_measuring(factor: float) -> None:
    net, model = network("regnety_500mf"), runtime()
    measured: list[str] = []

    def measure(candidate: Network) -> float:
        measured.append(candidate.name)
        return factor * model.seconds(candidate)

    result = scale_to_latency(net, "dWr", 0.02, model, measure=measure)
    assert result.met and result.best.measured_s == pytest.approx(0.02, rel=0.05)
    assert len(result.rounds) == len(measured) == 2 and result.correction == pytest.approx(factor)
    assert result.rounds[0].measured_s == pytest.approx(factor * 0.02, rel=0.05)


def test_an_error_that_depends_on_the_network_takes_more_rounds() -> None:
    net, model = network("regnety_500mf"), runtime()

    def measure(candidate: Network) -> float:
        return 30 * model.seconds(candidate) ** 1.4

    result = scale_to_latency(net, "dWr", 0.1, model, measure=measure, rounds=8)
    assert result.met and 2 < len(result.rounds) <= 8
    errors = [abs(round_.measured_s / 0.1 - 1) for round_ in result.rounds]
    assert errors == sorted(errors, reverse=True)


def test_a_third_network_is_searched_between_two_measured_ones() -> None:
    """Small ones are faster than predicted, large ones slower: each correction alone leads to the other."""
    net, model = network("regnety_500mf"), runtime()

    def measure(candidate: Network) -> float:
        predicted = model.seconds(candidate)
        return predicted * (0.9 + 0.3 / (1 + (0.105 / predicted) ** 40))

    result = scale_to_latency(net, "dWr", 0.1, model, measure=measure)
    first, second, *others = (round_.measured_s for round_ in result.rounds)
    assert first < 0.095 and second > 0.105 and len(others) == 1
    assert result.met and result.best.measured_s == others[0]


def test_the_closest_measured_network_is_taken_where_none_is_close() -> None:
    net, model = network("resnet26@64"), runtime()
    result = scale_to_latency(net, "d", 0.0172, model, measure=lambda other: 1.3 * model.seconds(other))
    assert not result.met and len(result.rounds) == 2
    assert result.best == min(result.rounds, key=lambda round_: abs(round_.measured_s - 0.0172))
    assert len({round_.network.identity for round_ in result.rounds}) == len(result.rounds)


def test_without_a_measurer_the_first_proposal_is_the_answer() -> None:
    result = scale_to_latency(network("regnety_500mf"), "dWr", 0.02, runtime())
    assert result.met and len(result.rounds) == 1 and result.correction == 1
    assert result.best.measured_s is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latency": 0.01}, "go together"),
        ({"runtime": runtime()}, "go together"),
        ({"latency": 0.01, "runtime": runtime(), "macs": 1e9}, "give one of"),
        ({"latency": 1e-9, "runtime": runtime()}, "out of reach"),
        ({"latency": -1.0, "runtime": runtime()}, "above 0"),
        ({"latency": 0.01, "runtime": runtime(), "strategy": "rs-depth"}, "multiply-adds"),
    ],
)
def test_bad_latencies(changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        scale(network("resnet50"), **({"strategy": "dWr"} | changes))


def test_invalid_tolerances_and_rounds() -> None:
    for wrong in ({"tolerance": 0.0}, {"rounds": 0}):
        with pytest.raises(UserError, match="tolerance"):
            scale_to_latency(network("resnet50"), "dWr", 0.02, runtime(), **wrong)


def test_a_search_by_latency() -> None:
    model = runtime()
    result = search(Space("y"), {"latency": 0.01}, 4, seed=1, predict=model.seconds)
    assert len(result.networks) == 4 == len(result.seconds)
    for net, seconds in zip(result.networks, result.seconds, strict=True):
        assert seconds == model.seconds(net) == pytest.approx(0.01, rel=0.05)
    with pytest.raises(UserError, match="predict"):
        search(Space("y"), {"latency": 0.01})


def test_each_round_visits_every_network_in_another_order() -> None:
    plan = calibration.plan_of(TimingProtocol(batch=2), ("infer",))
    order, n = calibration.in_rounds(plan), len(plan.networks)
    rounds = [order[i : i + n] for i in range(0, len(order), n)]
    assert len(rounds) == plan.visits and order == calibration.in_rounds(
        plan
    )  # the same order, so that it can be resumed
    assert all(
        sorted(net.name for net in visits) == sorted(net.name for net in plan.networks) for visits in rounds
    )
    assert rounds[0] != rounds[1] != rounds[2] != rounds[0]
