"""rescale quickstart: its networks suit small scans, and the command draws them all."""

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rescale.cli.app import app
from rescale.cli.quickstart import NETWORKS, TIMM
from rescale.cost import by_part, cost
from rescale.lookup import network


def test_its_networks_differ_in_depth_width_and_resolution() -> None:
    networks = [network(name) for name in NETWORKS]
    assert len(networks) + len(TIMM) == 8
    for values in (
        {sum(stage.depth for stage in net.stages) for net in networks},
        {net.stages[0].width for net in networks},
        {net.resolution for net in networks},
    ):
        assert len(values) > 1


@pytest.mark.parametrize("name", NETWORKS)
def test_its_networks_keep_a_map_of_several_pixels(name: str) -> None:
    *_, last_stage, _ = by_part(network(name))
    assert last_stage.size_out >= 2


def test_the_largest_network_is_trained_first_and_the_smallest_last() -> None:
    """Else one of two parallel jobs would wait for the other at the end."""
    first, *others, last = (cost(network(name)) for name in NETWORKS)
    assert all(first.macs > other.macs for other in others)
    assert all(last.macs < other.macs and last.activations < other.activations for other in others)


@pytest.mark.slow
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["rescale", "quickstart"])
    result = CliRunner().invoke(app, ["quickstart", "--out", str(tmp_path / "q"), "--epochs", "1"])
    assert result.exit_code == 0, result.output
    with (tmp_path / "q" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {*NETWORKS, *TIMM}
    assert (tmp_path / "q" / "pareto.png").stat().st_size > 10_000
