"""Comparisons over held-out images, and what their number explains: closed forms, SciPy, simulations."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import bootstrap

from fake_study import additive_study, fake_study
from rescale.errors import UserError
from rescale.report import claims, gather
from rescale.report.page import page
from rescale.studies import StudyFolder
from rescale.studies.images import DRAWS, LEAST_IMAGES, aligned, floor, over_images
from rescale.tasks.scores import scores_of


def right(*numbers: int) -> np.ndarray:
    return 100.0 * np.array(numbers)


def test_only_images_that_all_runs_have_are_compared() -> None:
    keys, scores = aligned([{"b": 1.0, "a": 2.0, "c": 3.0}, {"c": 4.0, "a": 5.0}])
    assert keys == ("a", "c")
    assert scores.tolist() == [[2.0, 3.0], [5.0, 4.0]]


def test_scores_of_tables() -> None:
    top = np.array([[1, 2], [2, 1], [0, 3]])
    assert scores_of({"target": np.array([1, 1, 0]), "top": top}).tolist() == [100.0, 0.0, 100.0]
    assert scores_of({"target": np.zeros(2), "score": np.array([0.5, 2.0])}).tolist() == [0.5, 2.0]
    assert scores_of({"target": np.zeros(2), "boxes": np.zeros(2)}) is None


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_floor_is_the_spread_of_independent_images(seeds: int) -> None:
    """Simulated: each image is right with a probability of its own, in each training anew."""
    rng = np.random.default_rng(seeds)
    probabilities = rng.beta(2.0, 1.0, 400)
    true = 100 * math.sqrt((probabilities * (1 - probabilities)).sum()) / 400
    studies = 100.0 * (rng.random((2_000, seeds, 400)) < probabilities)
    squares = np.mean([floor(scores) ** 2 for scores in studies])
    assert math.sqrt(squares) == pytest.approx(true, rel=0.02)
    spreads = studies.mean(axis=2).var(axis=1, ddof=1).mean()
    assert math.sqrt(spreads) == pytest.approx(true, rel=0.05)


def test_a_spread_beyond_the_floor_is_seen() -> None:
    """Seeds that differ on all images at once have a spread that the images do not explain."""
    rng = np.random.default_rng(0)
    scores = 100.0 * (rng.random((5, 1_000)) < np.linspace(0.5, 0.9, 5)[:, None])
    assert scores.mean(axis=1).std(ddof=1) > 5 * floor(scores)


def test_the_floor_needs_two_seeds() -> None:
    assert floor(np.ones((1, 10))) is None
    assert floor(np.ones((3, 0))) is None


def test_one_run_each_is_mcnemars_test() -> None:
    """Of 100 images 15 are right by the second alone, 5 by the first alone; p of Binomial(20, 1/2)."""
    first = right(*[1] * 60, *[0] * 15, *[1] * 5, *[0] * 20)[None]
    second = right(*[1] * 60, *[1] * 15, *[0] * 5, *[0] * 20)[None]
    compared = over_images(first, second)
    expected = 2 * sum(math.comb(20, k) for k in range(15, 21)) / 2**20
    assert compared.p == pytest.approx(expected)
    assert compared.mean == pytest.approx(10.0)
    assert over_images(first, first).p == 1.0
    assert over_images(np.vstack([first, first]), second).p is None


def test_the_interval_is_scipys_bootstrap() -> None:
    rng = np.random.default_rng(1)
    first, second = 100.0 * (rng.random((2, 3, 500)) < [[[0.7]], [[0.75]]])
    compared = over_images(first, second)
    sample = second.mean(axis=0) - first.mean(axis=0)
    theirs = bootstrap((sample,), np.mean, n_resamples=DRAWS, method="percentile", rng=2).confidence_interval
    assert (compared.low, compared.high) == pytest.approx(tuple(theirs), abs=0.15)
    wider = over_images(first, second, comparisons=10)
    assert wider.low < compared.low < compared.high < wider.high


def test_false_differences_over_images() -> None:
    """Equal networks: at most 6 % of the intervals exclude zero."""
    rng, trials = np.random.default_rng(3), 1_000
    false = 0
    for _ in range(trials):
        first, second = 100.0 * (rng.random((2, 1, 300)) < 0.8)
        compared = over_images(first, second)
        false += compared.low > 0 or compared.high < 0
    assert false / trials <= 0.06


def test_few_images_claim_nothing() -> None:
    few = right(*[0, 1] * (LEAST_IMAGES // 2 - 1))[None]
    compared = over_images(few, 100.0 - few)
    assert (compared.low, compared.high, compared.p) == (None, None, None)


def test_a_study_without_predictions_says_so(tmp_path: Path) -> None:
    findings = gather(fake_study(tmp_path / "s", seeds=2).path)
    assert findings.evidence.images == 0 and findings.analysis.over_images == {}
    assert any(line.startswith("no scores of single images") for line in findings.warnings)


def with_predictions(study: StudyFolder, images: int = 400) -> Path:
    """Write predictions that give each run the accuracy of its result; hard images are hard for all."""
    rng = np.random.default_rng(0)
    hardness = rng.normal(0.0, 1.0, images)
    for item, result in study.results().items():
        wrong = np.argsort(-hardness + rng.normal(0.0, 0.3, images))[
            : round((1 - result["figures"]["top1"] / 100) * images)
        ]
        top = np.zeros((images, 2), dtype=np.int64)
        top[wrong, 0] = 1
        columns = {"key": [f"{i}.png" for i in range(images)], "target": [0] * images, "top": top.tolist()}
        pq.write_table(pa.table(columns), study.run(item) / "predictions.parquet")
    return study.path


def test_a_study_of_one_seed_is_compared_over_images(tmp_path: Path) -> None:
    findings = gather(with_predictions(fake_study(tmp_path / "s", seeds=1)))
    assert findings.evidence.images == 400 and findings.evidence.floors == {}
    assert all(difference.p is not None for difference in findings.analysis.over_images.values())
    apart = sum(d.low > 0 or d.high < 0 for d in findings.analysis.over_images.values())
    others = len(findings.rows) - 1
    assert 0 < apart < others
    assert f"As trained here, it differs from {apart} of {others} others by more than" in claims.headline(
        findings
    )
    assert "with one seed, its value is not varied over seeds" in page(findings)


def test_several_seeds_have_a_floor_and_a_chance_of_the_front(tmp_path: Path) -> None:
    findings = gather(with_predictions(fake_study(tmp_path / "s", seeds=3)))
    assert "The number of these images alone explains" in findings.uncertainty
    assert "As trained here" not in claims.headline(findings)
    assert all(0 <= row.front_chance <= 1 and row.value_floor > 0 for row in findings.rows)
    assert max(row.front_chance for row in findings.rows if row.on_front) > 0.9
    assert min(row.front_chance for row in findings.rows if not row.on_front) < 0.5
    assert any("95 %, over seeds, images and timings" in line for line in claims.speedup_sentences(findings))
    text = page(findings)
    for row in findings.rows:
        assert f">{'● ' if row.on_front else ''}{100 * row.front_chance:.0f} %</td>" in text


def test_rows_of_a_plan_by_hand_are_compared_with_the_row_above_over_images(tmp_path: Path) -> None:
    findings = gather(with_predictions(additive_study(tmp_path / "s")))
    means = {row.label: row.value for row in findings.rows}
    noise = findings.analysis.over_images["+ noise"]
    assert noise.mean == pytest.approx(means["+ noise"] - means["+ SE"], abs=0.3)  # whole images
    assert noise.low < noise.mean < noise.high and noise.p is None
    assert "over images" in page(findings)


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    study = fake_study(tmp_path / "s", seeds=1)
    with_predictions(study)
    file = study.run(study.plan.items[2]) / "predictions.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"predictions\.parquet: cannot be read"):
        gather(study.path)
