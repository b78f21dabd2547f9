"""The report of studies with made-up values."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from fake_study import ERROR, NETWORKS, fake_study, timing
from rescale.figure import Figure
from rescale.report import gather, table, units, write_report
from rescale.report.claims import speedup_sentence
from rescale.report.plots import Box, places, round_ticks
from rescale.studies import Speedup, StudyFolder
from rescale.studies.rows import from_csv
from rescale.training.format_1 import TOP_1


class Page(HTMLParser):
    """What a browser would load, and the text of the elements with an id."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.cells, self.scripts, self.own = [], [], [], []
        self.row, self.place = None, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.place = tag
        for name, value in attributes:
            if name in ("src", "href", "action", "srcset", "data", "poster", "background"):
                self.loads.append(value)
        if tag == "tr":
            self.row = []
            self.cells.append(self.row)

    def handle_data(self, data):
        if self.place == "script":
            self.scripts.append(data)
        else:
            self.own.append(data)
            if self.place == "td" and data.strip():
                self.row.append(data)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "study"
    fake_study(path, failing="resnetrs26x0.5@32")
    return path, write_report(path)


def test_the_page_loads_nothing(reported):
    page = Page(reported[1]["report.html"].read_text())
    assert [load for load in page.loads if not load.startswith("data:")] == []
    short = [script for script in page.scripts if len(script) < 200_000]  # the long one is plotly's
    assert len(page.scripts) - len(short) == 1
    for text in (*short, *page.own):
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", text.replace('"http://www.w3.org', "")), text[:200]


def test_the_page_holds_the_results(reported):
    text = " ".join(Page(reported[1]["report.html"].read_text()).own)
    for label in NETWORKS:
        assert label in text
    assert "step 7: the loss is nan" in text
    assert "resnetrs is 1.01×–1.70× as fast as resnet" in text
    assert "epochs=16" in text and "flip=0" in text
    assert "timm:resnet10t@32: stochastic depth by stage" in text
    assert "rescale study pareto" in text and "Imaginary CPU" in text
    assert "360 held-out images: at 97.9 %" in text
    assert f"standard error of {100 * (0.979 * 0.021 / 360) ** 0.5:.2f} points" in text
    assert "resnetrs50x0.25@32 has the best top-1: 97.90 ± 0.20 %." in text
    assert "resnetrs26x0.125@32, is 3.36× as fast at 91.20 ± 0.20 %." in text
    assert "is better" not in text


def test_failed_networks_are_named_everywhere(reported):
    path, paths = reported
    assert [failure.label for failure in gather(path).failures] == ["resnetrs26x0.5@32"] * 3
    assert "resnetrs26x0.5@32" not in paths["results.csv"].read_text()


@pytest.fixture(scope="module")
def judged_by_error(tmp_path_factory):
    """A study whose headline figure is an error, of which less is better."""
    path = tmp_path_factory.mktemp("reports") / "pose"
    fake_study(path, figure=ERROR)
    return path, write_report(path)


def test_the_page_of_an_error(judged_by_error):
    html = judged_by_error[1]["report.html"].read_text()
    page = Page(html)
    text = " ".join(page.own)
    assert "resnetrs26x0.5@32 has the best mean error: 1.80 ± 0.20 degrees." in text
    assert "resnetrs26x0.125@32, is 4.73× as fast at 8.80 ± 0.20 degrees." in text
    assert "as fast as resnet at equal mean error, compared from 3.90 to 3.10 degrees" in text
    assert "All values are from 360 held-out images. ±" in text and "standard error" not in text
    assert "slower or has a worse mean error" in text and "A lower mean error is better." in text
    assert '<th scope="col" data-first="ascending" aria-sort="ascending"><button>mean error degrees<' in html
    errors = [row[1] for row in page.cells if len(row) > 2 and row[0] in NETWORKS]
    assert errors[:2] == ["1.80 ± 0.20", "2.10 ± 0.20"] and errors[-1] == "10.50 ± 0.20"
    drawn = next(script for script in page.scripts if "mean error, degrees (lower is better)" in script)
    assert "mean error degrees: 1.80" in drawn  # the text at the pointer
    assert "top-1" not in text and "top-1" not in drawn


def test_pictures_table_and_csv_of_an_error(judged_by_error, capsys):
    from rescale.cli.studies import show_report

    path, paths = judged_by_error
    svg = paths["pareto.svg"].read_text()
    assert "mean error on 360 held-out images, degrees (lower is better)" in svg and "top-1" not in svg
    rows = from_csv(paths["results.csv"].read_text())
    assert rows == gather(path).rows and {row.figure for row in rows} == {ERROR}
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table(gather(path)))
    text = console.export_text()
    assert text.index(" 1.80 ± 0.20") < text.index(" 2.10 ± 0.20") < text.index("10.50 ± 0.20")
    assert "A lower mean error is better." in text and "top-1" not in text
    show_report(path, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed[0]["figure"] == ERROR.as_json() and printed[0]["figures"].keys() == {"within_11", "loss"}


@pytest.mark.parametrize("figure", [TOP_1, ERROR])
def test_the_axis_title_fits_the_picture(figure, tmp_path):
    from PIL import Image

    fake_study(tmp_path / "s", seeds=1, figure=figure)
    with Image.open(write_report(tmp_path / "s")["pareto.png"]) as image:
        grey = image.convert("L")
        edges = grey.crop((0, 0, 60, 2)), grey.crop((0, grey.height - 2, 60, grey.height))
    assert all(edge.getextrema() == (255, 255) for edge in edges)


def test_names_are_escaped(tmp_path):
    study = fake_study(tmp_path / "s", seeds=1)
    plan = study.plan_file.read_text().replace("MADE-UP", "<script>alert(1)</script>")
    study.plan_file.write_text(plan)
    text = write_report(study.path)["report.html"].read_text()
    assert "<script>alert(1)" not in text and "&lt;script&gt;alert(1)" in text


def test_the_csv_is_the_table(reported):
    path, paths = reported
    assert from_csv(paths["results.csv"].read_text()) == gather(path).rows


def test_the_pictures_are_pictures(reported):
    from PIL import Image

    with Image.open(reported[1]["pareto.png"]) as image:
        assert image.size[0] > 1000 and len(set(image.convert("L").tobytes())) > 20
    svg = reported[1]["pareto.svg"].read_text()
    assert all(label in svg for label in NETWORKS if label != "resnetrs26x0.5@32")


def test_an_empty_study_has_a_report_too(tmp_path):
    study = fake_study(tmp_path / "s", seeds=1)
    shutil.rmtree(study.path / "runs")
    shutil.rmtree(study.path / "timings")
    text = write_report(study.path)["report.html"].read_text()
    assert "No network has finished training yet" in text
    assert "not finished: resnetrs26x0.125@32-s0" in text


def test_a_busy_machine_and_a_halved_batch_are_warned_of(tmp_path):
    study = fake_study(tmp_path / "s", seeds=1)
    made = timing("resnet26x0.25@32", 0.02, batch_fitted=8)
    made.settings["others_busy_cores"] = 1.4
    study.keep_timing(made.model, made)
    warnings = gather(study.path).warnings
    assert any("8 of 32 images fitted" in line for line in warnings)
    assert any("1.4 cores busy" in line for line in warnings)


def test_the_terminal_table_fits(reported, tmp_path):
    def drawn(path, width):
        console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        console.print(table(gather(path)))
        return console.export_text()

    text = drawn(reported[0], 100)
    assert "97.90 ± 0.20" in text and "…" not in text
    fake_study(tmp_path / "s", seeds=1)
    narrow = drawn(tmp_path / "s", 80)
    assert "resnetrs26x0.125@32 " in narrow and "…" not in narrow


def test_the_table_sorts_in_a_browser(reported):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser here; test_the_sorting_script covers its values")
    path = reported[1]["report.html"]
    clicked = path.with_name("clicked.html")
    click = "<script>document.querySelectorAll('#networks th button')[2].click()</script></body>"
    clicked.write_text(path.read_text().replace("</body>", click))
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--virtual-time-budget=5000", "--dump-dom", f"file://{clicked}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    table_text = done.stdout.split('id="networks"')[1].split("</table>")[0]
    order = re.findall(r'<tr[^>]*><td data-key="([^"]+)"', table_text)
    assert order == sorted(order, key=lambda label: NETWORKS[label][1])
    assert table_text.count("aria-sort") == 1
    assert 'class="main-svg"' in done.stdout  # plotly has drawn


def test_the_sorting_script(reported):
    page = Page(reported[1]["report.html"].read_text())
    rows = [row for row in page.cells if len(row) > 2 and row[0] in NETWORKS]
    assert [row[0] for row in rows[:2]] == ["resnetrs50x0.25@32", "resnetrs26x0.25@32"]
    text = reported[1]["report.html"].read_text()
    keys = [float(key) for key in re.findall(r'<td data-key="([\d.e+-]+)">[\d.]+ ms</td>', text)]
    assert sorted(keys) == sorted(NETWORKS[row[0]][1] / 1000 for row in rows)


def test_speed_ups_in_words():
    same = Speedup("a", "b", 2.0, 90.0, 2.0, 90.0, 90.0, 90.0)
    assert speedup_sentence(same, TOP_1) == "a is 2.00× as fast as b at equal top-1 (90.0 %)"
    wide = Speedup("a", "b", 1.7, 90.0, 2.7, 84.0, 84.0, 90.0)
    assert speedup_sentence(wide, TOP_1) == (
        "a is 1.70×–2.70× as fast as b at equal top-1, compared from 84.0 to 90.0 % "
        "(least at 90.0 %, most at 84.0 %)"
    )
    lower = Speedup("a", "b", 2.0, -9.0, 2.0, -5.0, -9.0, -5.0)
    assert speedup_sentence(lower, ERROR) == "a is 2.00× as fast as b at equal mean error (9.00–5.00 degrees)"
    loss = Figure("loss", "loss", higher_is_better=False)
    assert speedup_sentence(lower, loss) == "a is 2.00× as fast as b at equal loss (9.00–5.00)"


def test_a_study_without_a_plan_is_refused(tmp_path):
    from rescale.errors import UserError

    with pytest.raises(UserError, match="no study here"):
        gather(tmp_path)
    assert StudyFolder(tmp_path).failures() == []


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(100, 900), st.floats(100, 500)), min_size=1, max_size=9, unique=True),
)
def test_labels_stay_apart_where_there_is_room(anchors):
    frame = Box(0, 0, 1000, 600)
    sizes = [(60.0, 12.0)] * len(anchors)
    boxes = [Box(x, y, x + 60, y + 12) for x, y in places(anchors, sizes, frame, 8)]
    assert all(a.overlap(b) < 1 for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.overlap(frame) > 60 * 12 - 1 for box in boxes)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (8.9, 47, [10, 20, 30, 40]),
        (0.01, 900, [0.01, 0.1, 1, 10, 100]),
        (31, 33, [31, 32, 33]),
        (11, 39, [15, 20, 25, 30, 35]),
    ],
)
def test_ticks_are_round_and_enough(low, high, expected):
    ticks = round_ticks(low, high)
    assert set(expected) <= set(ticks) and 3 <= len(ticks) <= 14
    assert all(low <= tick <= high for tick in ticks)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.count(2_279_000_000), "2.28 G"),
        (units.count(999_600), "1.00 M"),
        (units.count(512), "512"),
        (units.memory(1_200_000_000), "1.12 GiB"),
        (units.seconds(0.0123), "12.3 ms"),
        (units.seconds(0.0000021), "2.10 µs"),
        (units.seconds(75), "75.0 s"),
        (units.seconds(None), "–"),
        (units.spread(98.327, None), "98.33"),
        (units.spread(98.327, 0.21), "98.33 ± 0.21"),
        (units.spread(0.8761, 0.0021), "0.876 ± 0.002"),
        (units.spread(-0.00432, None), "-0.00432"),
        (units.spread(0.0, 0.0), "0.00 ± 0.00"),
        (units.with_unit("2.00", ERROR), "2.00 degrees"),
        (units.with_unit("2.00", Figure("loss", "loss")), "2.00"),
        (units.axis(TOP_1), "top-1, %"),
        (units.axis(ERROR), "mean error, degrees (lower is better)"),
        (units.axis(Figure("loss", "loss", higher_is_better=False)), "loss (lower is better)"),
        (units.digits(0.0421), "0.0421"),
        (units.digits(9.999), "10.0"),
        (units.column([35.7e6, 192e6, None], 1000, units.COUNTS), ("M", ["35.7", "192", "–"])),
    ],
)
def test_units(shown, expected):
    assert shown == expected


def test_the_command_prints_the_same_and_json_is_json(reported, capsys):
    from rescale.cli.studies import show_report

    show_report(reported[0], as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert {row["label"] for row in rows} == {row.label for row in gather(reported[0]).rows}
    show_report(reported[0], as_json=False)
    printed = capsys.readouterr().out
    assert "failed: resnetrs26x0.5@32, seed 0: training: step 7: the loss is nan" in printed
    assert printed.strip().endswith("results.csv") and "report.html" in printed
