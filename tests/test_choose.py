"""The choice of the fastest mode, with invented measurements."""

from dataclasses import replace

import pytest

import rescale
from rescale.bench import Timing, TimingProtocol
from rescale.bench.choose import fastest, slower_than_fp32
from rescale.bench.for_run import choose_for_run, worth_measuring
from rescale.errors import JobError
from rescale.execution import ExecutionMode
from rescale.recipes import recipe, resolve
from rescale.training import Settings

CPU = TimingProtocol(batch=64)
GPU = replace(CPU, device="cuda")


def clock(seconds: dict[tuple[str, str], float | str], trials: list[tuple[str, str]]):
    """A clock that returns the seconds of a mode and precision (1 by default); words stand for failures."""

    def answer(protocol: TimingProtocol) -> Timing:
        trials.append((protocol.fast, protocol.precision))
        outcome = seconds.get(trials[-1], 1.0)
        if outcome == "full":
            outcome, fitted = 1.0, protocol.batch // 2
        elif isinstance(outcome, str):
            raise JobError(f"net: {outcome}")
        else:
            fitted = protocol.batch
        return Timing(
            "net",
            32,
            "train",
            protocol.batch,
            fitted,
            outcome,
            (outcome, outcome),
            1.0,
            1,
            protocol.precision,
            protocol.fast,
        )

    return answer


def test_the_faster_precision_is_kept_and_compiling_waits_for_long_runs() -> None:
    trials: list[tuple[str, str]] = []
    choice = fastest(clock({("channels_last", "fp32"): 0.5}, trials), CPU, ["bf16", "fp32"], steps=100)
    assert (str(choice.mode), choice.precision) == ("channels_last", "fp32")
    assert [precision for _, precision in trials] == ["bf16", "fp32", "bf16"]  # the first is timed again
    assert "500 ms" in choice.because() and "1000 ms" in choice.because()


def test_a_long_run_tries_to_compile_in_the_precision_found() -> None:
    trials: list[tuple[str, str]] = []
    times = {("channels_last", "fp32"): 0.5, ("channels_last+compile", "fp32"): 0.4}
    choice = fastest(clock(times, trials), CPU, ["bf16", "fp32"], steps=1e6)
    assert (str(choice.mode), choice.precision) == ("channels_last+compile", "fp32")


def test_gains_within_noise_are_not_taken() -> None:
    choice = fastest(clock({("channels_last+compile", "bf16"): 0.98}, []), CPU, ["bf16"])
    assert str(choice.mode) == "channels_last"


def test_a_gpu_tries_layouts_and_graphs() -> None:
    trials: list[tuple[str, str]] = []
    times = {("contiguous", "bf16"): 0.9, ("contiguous+graphs", "bf16"): 0.2}
    choice = fastest(clock(times, trials), GPU, ["bf16"])
    assert str(choice.mode) == "contiguous+graphs"
    expected = [
        "channels_last",
        "contiguous",
        "channels_last",
        "contiguous+compile",
        "contiguous+graphs",
        "contiguous",
    ]
    assert [mode for mode, _ in trials] == expected


def test_a_short_disturbance_changes_nothing() -> None:
    times = iter([1.0, 0.6, 0.5])  # the usual mode while disturbed, the other mode, the usual mode again

    def answer(protocol: TimingProtocol) -> Timing:
        return clock({(protocol.fast, protocol.precision): next(times)}, [])(protocol)

    assert fastest(answer, CPU, ["bf16", "fp32"], steps=1).precision == "bf16"


def test_a_failing_mode_is_skipped_and_named() -> None:
    choice = fastest(clock({("channels_last+compile", "bf16"): "no compiler"}, []), CPU, ["bf16"])
    assert str(choice.mode) == "channels_last" and "no compiler" in choice.because()


def test_checkpointing_is_tried_if_a_step_does_not_fit() -> None:
    trials: list[tuple[str, str]] = []
    choice = fastest(clock({("channels_last", "bf16"): "full"}, trials), CPU, ["bf16"])
    assert choice.mode == ExecutionMode(checkpointing=True)
    assert all("compile" not in mode for mode, _ in trials)


def test_no_mode_runs() -> None:
    broken = clock(
        {("channels_last", "bf16"): "broken", ("channels_last+checkpointing", "bf16"): "broken"}, []
    )
    with pytest.raises(JobError, match="broken"):
        fastest(broken, CPU, ["bf16"])


def test_short_runs_are_not_measured_and_long_or_large_ones_are(monkeypatch) -> None:
    net = rescale.network("resnetrs50@160")
    plain = resolve(recipe("resnet-rs", epochs=1, batch=16), net).recipe
    settings = Settings(threads=1)
    protocol = TimingProtocol(batch=16)
    assert not worth_measuring(net, plain, 16, settings, protocol)
    assert worth_measuring(net, plain, 1_000_000, settings, protocol)
    monkeypatch.setattr("rescale.machine.free_memory", lambda device: 2**30)
    assert worth_measuring(net, plain, 16, settings, protocol)


def test_a_run_gets_the_choice(monkeypatch, capsys) -> None:
    net = rescale.network("resnetrs50@160")
    resolved = resolve(recipe("resnet-rs", epochs=300), net, native_bf16=True)
    monkeypatch.setattr("rescale.machine.precisions", lambda device: ("bf16", "fp32"))

    def answer(request: dict) -> dict:
        quick = request["protocol"]["precision"] == "fp32"
        result = {"fits": True, "seconds": [0.1 if quick else 0.2], "memory_bytes": 1, "settings": {}}
        return result | {"precision": request["protocol"]["precision"], "fast": request["protocol"]["fast"]}

    result, settings = choose_for_run(net, resolved, 10_000_000, Settings(), precision="auto", ask=answer)
    assert result.recipe.precision == "fp32" and result.sources["precision"] == "measured here"
    assert "channels_last fp32 100 ms" in settings.fast_because
    assert "channels_last fp32" in capsys.readouterr().err
    result, _ = choose_for_run(net, resolved, 10_000_000, Settings(), precision="bf16", ask=answer)
    assert result.recipe.precision == "bf16"  # set by the user, so not changed


def test_timing_by_auto_chooses_first(monkeypatch) -> None:
    trials = []

    def answer(request: dict) -> dict:
        protocol = request["protocol"]
        trials.append((protocol["fast"], protocol["precision"], protocol["repeats"]))
        seconds = 0.1 if protocol["fast"] == "channels_last+compile" else 0.2
        result = {"fits": True, "seconds": [seconds], "memory_bytes": 1, "settings": {}}
        return result | {"precision": protocol["precision"], "fast": protocol["fast"]}

    protocol = TimingProtocol(batch=4, fast="auto", precision="fp32", repeats=33)
    timing = rescale.time_network(rescale.network("resnetrs50"), protocol, ask=answer)
    assert timing.fast == "channels_last+compile"
    assert trials[-1] == ("channels_last+compile", "fp32", 33) and len(trials) == 4


def test_bf16_that_is_slower_on_a_cpu_is_named() -> None:
    def said(protocol: TimingProtocol, bf16: float, fp32: float) -> tuple[str, list[tuple[str, str]]]:
        trials: list[tuple[str, str]] = []
        times = {("channels_last", "bf16"): bf16, ("channels_last", "fp32"): fp32}
        measure = clock(times, trials)
        timing = measure(replace(protocol, fast="channels_last", precision="bf16"))
        return slower_than_fp32(measure, protocol, timing), trials[1:]

    asked = replace(CPU, precision="bf16")
    text, trials = said(asked, 0.2, 0.1)
    assert "net: bf16 is slower than fp32" in text and "200 ms, in fp32 100 ms" in text
    assert trials == [("channels_last", "fp32")]
    assert said(asked, 0.1, 0.2)[0] == said(asked, 0.1, 0.099)[0] == ""  # faster; no more than noise
    assert said(CPU, 0.2, 0.1)[0] != ""  # auto chose bf16 without measuring
    assert said(replace(CPU, fast="auto"), 0.2, 0.1) == ("", [])  # both were measured
    assert said(replace(GPU, precision="bf16"), 0.2, 0.1) == ("", [])
