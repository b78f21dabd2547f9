"""Timing: halving the batch, the clock, memory, and the stored result."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fake_study import timing
from rescale.bench import Server, Timing, TimingProtocol, time_network
from rescale.bench.measure import (
    DidNotFit,
    halve_until_it_fits,
    others_busy,
    peak_memory,
    ran_out_of_memory,
    time_steps,
)
from rescale.bench.server import request
from rescale.bench.timing import quartiles
from rescale.errors import JobError, UserError
from rescale.lookup import network

NET = network("resnetrs26x0.125@32")


def test_a_timing_survives_json():
    original = timing("resnetrs50@160", 0.1)
    assert Timing.from_json(original.to_json()) == original
    with pytest.raises(ValueError, match="not a timing"):
        Timing.from_json('{"model": "x"}')


def test_a_protocol_names_all_its_mistakes():
    with pytest.raises(UserError) as caught:
        TimingProtocol(mode="training", batch=0, device="gpu", precision="fp8", repeats=0)
    assert len(caught.value.lines) == 5
    assert "'train'" in caught.value.lines[0]


def test_halving_stops_at_what_fits():
    tried = []

    def attempt(batch):
        tried.append(batch)
        if batch > 20:
            raise DidNotFit
        return "done"

    assert halve_until_it_fits(128, attempt) == (16, "done")
    assert tried == [128, 64, 32, 16]


def fake_worker(capacity, seconds=(0.1, 0.2, 0.3)):
    """A worker with memory for `capacity` images and fixed times; also returns the list of its requests."""
    requests = []

    def ask(request):
        requests.append(request)
        if request["batch"] > capacity:
            return {"fits": False}
        return {
            "fits": True,
            "seconds": list(seconds),
            "memory_bytes": 1000 * request["batch"],
            "precision": "fp32",
            "fast": "channels_last",
            "settings": {"threads": 1},
        }

    return ask, requests


def test_seconds_are_scaled_to_the_requested_batch():
    ask, requests = fake_worker(capacity=40)
    measured = time_network(NET, TimingProtocol(batch=128), ask=ask)
    assert [request["batch"] for request in requests] == [128, 64, 32]
    assert (measured.batch, measured.batch_fitted) == (128, 32)
    assert measured.latency_s == pytest.approx(4 * 0.2)
    assert measured.quartiles_s == pytest.approx((4 * 0.15, 4 * 0.25))
    assert measured.images_per_s == pytest.approx(32 / 0.2)
    assert measured.memory_bytes == 32_000
    assert measured.settings == {"threads": 1}


def test_not_one_image_and_a_failing_model_are_errors():
    with pytest.raises(JobError, match="not even one image"):
        time_network(NET, TimingProtocol(batch=4), ask=fake_worker(capacity=0)[0])
    with pytest.raises(JobError, match="RuntimeError: broken"):
        time_network(NET, ask=lambda _: {"error": "RuntimeError: broken"})


def test_the_clock_skips_the_warm_up_and_waits_for_the_device():
    events = []
    seconds = time_steps(
        lambda: events.append("step"), warmup=2, repeats=3, wait=lambda: events.append("wait")
    )
    assert events == ["step", "step", "wait", *["step", "wait"] * 3]
    assert len(seconds) == 3 and all(s >= 0 for s in seconds)


def test_quartiles_are_numpys():
    numpy = pytest.importorskip("numpy")
    for values in ([3.0], [1.0, 2.0], [5.0, 1.0, 4.0, 2.0], [0.3, 0.1, 0.4, 0.1, 0.5, 0.9, 0.2]):
        assert quartiles(values) == pytest.approx(tuple(numpy.quantile(values, [0.25, 0.5, 0.75])))


def test_which_errors_mean_out_of_memory():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert ran_out_of_memory(caught.value)
    assert ran_out_of_memory(MemoryError())
    assert ran_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    for words in ("CUDNN_STATUS_ALLOC_FAILED", "unable to find an engine to execute this computation"):
        assert ran_out_of_memory(RuntimeError(f"cuDNN error: {words}"))
    assert not ran_out_of_memory(RuntimeError("Expected more than 1 value per channel"))


def test_peak_memory_includes_freed_memory_and_not_the_parents():
    parent = bytearray(300 << 20)  # a child's getrusage maximum would start here
    parent[::4096] = b"x" * len(parent[::4096])
    code = (
        "from rescale.bench.measure import peak_memory\n"
        "before = peak_memory(); a = bytearray(100 << 20); a[::4096] = b'x' * len(a[::4096]); del a\n"
        "print(before, peak_memory() - before)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, grown = map(int, output.split())
    assert before < 200 << 20
    assert 95 << 20 < grown < 140 << 20
    assert peak_memory() > 300 << 20


def test_cores_kept_busy_by_others():
    assert others_busy((10.0, 4.0), (18.0, 7.0), wall=5.0) == pytest.approx(1.0)
    assert others_busy((10.0, 4.0), (10.0, 7.0), wall=5.0) == 0
    assert others_busy(None, None, 1.0) is None


def test_real_networks_are_timed():
    with Server() as server:
        for mode in ("train", "infer"):
            protocol = TimingProtocol(mode=mode, batch=4, precision="fp32", threads=1, warmup=1, repeats=3)
            measured = time_network(NET, protocol, ask=server)
            assert (measured.model, measured.resolution, measured.batch_fitted) == (NET.name, 32, 4)
            assert measured.quartiles_s[0] <= measured.latency_s <= measured.quartiles_s[1]
            assert measured.images_per_s == pytest.approx(4 / measured.latency_s)
            assert 0 < measured.memory_bytes < 200 << 20
            assert measured.precision == "fp32"
            assert measured.settings["threads"] == 1 and measured.settings["repeats"] == 3
            names = {"device", "torch", "load_average", "others_busy_cores", "date"}
            assert names <= measured.settings.keys()


def test_each_request_is_answered_in_a_process_of_its_own(monkeypatch, capfd):
    from rescale.bench import worker

    def ends(how: Callable[[], object]) -> dict[str, Any]:
        monkeypatch.setattr(worker, "answer", lambda _: how())
        return worker.answer_in_child({})

    def prints_and_fails() -> None:
        print("loading the weights")
        raise SystemExit("the model's own words")

    assert ends(lambda: {"pid": os.getpid()})["pid"] != os.getpid()
    assert ends(lambda: os.kill(os.getpid(), signal.SIGKILL)) == {"fits": False}  # as the kernel does
    assert "the model's own words" in ends(prints_and_fails)["error"]
    assert ends(lambda: os._exit(7)) == {"error": "exit code 7"}
    assert capfd.readouterr() == ("", "")


def test_a_server_that_was_killed_is_started_again():
    example = request(NET, TimingProtocol(batch=1, mode="infer", threads=1, warmup=0, repeats=1), 1, None)
    with Server() as server:
        assert server(example)["fits"]
        assert server._process
        server._process.kill()
        assert server(example) == {"fits": False}
        assert server(example)["fits"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_measurement_ends_with_its_server():
    endless = TimingProtocol(batch=1, mode="infer", threads=1, warmup=10**9)
    with Server() as server:
        asking = threading.Thread(target=server, args=[request(NET, endless, 1, None)])
        asking.start()
        while not (server._process and (children := children_of(server._process.pid))):
            time.sleep(0.05)
        server._process.kill()
        asking.join(10)
    while any(Path("/proc", child, "stat").exists() for child in children):
        time.sleep(0.05)  # the test's time limit ends this if the child does not


def children_of(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def test_a_step_too_large_for_the_memory_is_halved(monkeypatch):
    from rescale.bench import worker

    example = request(NET, TimingProtocol(batch=8), 8, None)

    def full(_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 99 bytes")

    monkeypatch.setattr(worker, "measure", full)
    assert worker.answer(example) == {"fits": False}


def test_requests_hold_the_whole_network():
    from rescale.bench import worker
    from rescale.models import External

    for model in (NET, External("timm:resnet10t@64", 64, 7)):
        assert worker.read_model(request(model, TimingProtocol(), 2, None)["model"]) == model


def test_timings_compare_by_value():
    original = timing("a", 1.0)
    assert replace(original, batch=1) != original and asdict(original)["batch"] == 32


def test_one_image_that_batch_norm_cannot_use_is_refused_before_any_network_is_timed(monkeypatch) -> None:
    from rescale.cli.bench import bench

    monkeypatch.setattr("rescale.bench.Server", None)
    with pytest.raises(UserError, match=r"resnet1-1-1-1x0\.0625@32: a micro-batch of one image"):
        bench(["resnet1-1-1-1x0.0625@64", "resnet1-1-1-1x0.0625@32"], batch=1, mode="train")
