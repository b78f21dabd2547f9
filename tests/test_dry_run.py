"""rescale study --dry-run: what a study would do and cost, without doing it."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rescale.bench import TimingProtocol
from rescale.cli import main
from rescale.studies import check, pareto_plan
from rescale.studies.price import LARGEST, prices
from rescale.training.run import Run

NAME = "resnetrs1-1x0.125+smallstem@8"
STUDY = f"rescale study pareto --models {NAME} --data digits --seeds 2 --set epochs=1 --set batch=64 --out"

Command = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line; exit code, output and messages."""

    def command(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", shlex.split(line))
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capfd.readouterr()

    return command


def fake_ask(
    seconds_per_image: float, asked: list[dict[str, Any]]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def ask(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        seconds = [seconds_per_image * request["batch"]] * 3
        used = {"precision": "fp32", "fast": "channels_last", "settings": {}}
        return {"fits": True, "seconds": seconds, "memory_bytes": 1, **used}

    return ask


@pytest.mark.parametrize(("batch", "accumulate", "timed"), [(64, 1, LARGEST), (64, 4, 16), (8, 1, 8)])
def test_a_price_is_the_steps_times_their_measured_time(batch: int, accumulate: int, timed: int) -> None:
    changes = [f"batch={batch}", f"accumulate={accumulate}", "epochs=3"]
    plan = pareto_plan(
        [NAME, "resnet1-1x0.125+smallstem@8"], ["resnet-rs"], "digits", seeds=2, changes=changes
    )
    asked: list[dict[str, Any]] = []
    checked = check(plan)
    priced = prices(checked.runs, plan.items, TimingProtocol(threads=1), fake_ask(0.01, asked))
    assert [request["batch"] for request in asked] == [timed, timed]  # once for both seeds
    steps = 3 * (checked.runs[plan.items[0]].images // batch)
    for item in plan.items:
        assert priced[item].steps == steps
        assert priced[item].seconds == pytest.approx(0.01 * steps * batch)


def test_it_prints_what_is_missing_and_trains_nothing(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "study"
    code, printed, errors = run(
        f"{STUDY.replace(NAME, f'{NAME},resnet1-1x0.125+smallstem@8')} {out} --dry-run"
    )
    assert code == 0 and not out.exists()
    assert "4 runs to train" in printed and "2 seeds for each network: they will not be told apart" in errors
    code, printed, _ = run(f"{STUDY} {out} --dry-run")
    assert code == 0 and not out.exists()
    text = " ".join(printed.split())
    assert "2 runs to train" in text and "Nothing was trained" in text
    assert all(len(line) <= 80 for line in printed.splitlines() if not line.startswith("rescale"))
    rows = json.loads(run(f"{STUDY} {out} --dry-run --json")[1])
    assert [row["seed"] for row in rows] == [0, 1]
    assert all(row["steps"] == 22 and row["batch"] == 64 and row["seconds"] > 0 for row in rows)

    assert run(rows[1]["command"])[0] == 0
    assert run(f"{STUDY} {out}")[0] == 0
    by_hand, by_study = (
        Run.open(path).facts for path in (Path("runs", f"{NAME}-s1"), out / f"runs/{NAME}-s1")
    )
    assert by_hand["identity"] == by_study["identity"]
    code, printed, _ = run(f"{STUDY} {out} --dry-run")
    assert "2 runs finished. Nothing is left to train." in " ".join(printed.split())


def test_a_plan_by_hand_stays_as_it_is(run: Command, tmp_path: Path) -> None:
    top = "data: digits\nrecipe: resnet-2015\nseeds: 2\nchanges: [epochs=1, batch=64]\n"
    (tmp_path / "plan.yaml").write_text(f"{top}items:\n- model: {NAME}\n")
    code, printed, _ = run(f"rescale study run {tmp_path} --dry-run")
    assert code == 0 and "2 runs to train" in printed
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.yaml"]


def test_another_study_in_the_folder_is_refused_before_anything_is_measured(
    run: Command, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").touch()
    code, _, errors = run(f"{STUDY} {tmp_path} --dry-run")
    assert code == 2 and "holds something that is no study" in errors
