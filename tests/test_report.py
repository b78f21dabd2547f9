"""The report of studies with made-up values."""

import html
import json
import re
import shlex
import shutil
import statistics
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from fake_study import ADDITIVE, ERROR, NETWORKS, additive_study, fake_study, finish, timing
from fake_study import plan as made_up_plan
from rescale import units
from rescale.bench.timing import TimingProtocol
from rescale.errors import UserError, first_few
from rescale.figure import Figure
from rescale.report import gather, table, write_report
from rescale.report.chart import axis_ticks, traces
from rescale.report.claims import headline, power, speedup_sentence, speedup_sentences, spent
from rescale.report.findings import share_interval
from rescale.report.index import write_index
from rescale.report.page import breakable, page
from rescale.report.plots import Box, places, round_ticks, style
from rescale.report.runs import runs_of_networks, thinned
from rescale.studies import Speedup, StudyFolder, pareto_plan
from rescale.studies.rows import from_csv, to_csv
from rescale.training.format_1 import TOP_1


class Page(HTMLParser):
    """What a browser would load, and the text of the elements with an id."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.cells, self.scripts, self.styles, self.own = [], [], [], [], []
        self.links = []
        self.row, self.place = None, ""  # of the table that is read
        self.feed(text.replace("<wbr>", ""))  # where a name may be broken

    def handle_starttag(self, tag, attributes):
        self.place = tag
        for name, value in attributes:
            if tag == "a" and name == "href":
                self.links.append(value)
            elif name in ("src", "href", "action", "srcset", "data", "poster", "background"):
                self.loads.append(value)
        if tag == "tr":
            self.row = []
            self.cells.append(self.row)

    def handle_data(self, data):
        if self.place == "script":
            self.scripts.append(data)
        elif self.place == "style":
            self.styles.append(data)
        else:
            self.own.append(data)
            if self.place in ("td", "a") and self.row is not None and data.strip():
                self.row.append(data)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "study"
    fake_study(path, failing="resnetrs26x0.5@32")
    return path, write_report(gather(path))


def test_the_page_loads_nothing(reported):
    page = Page(reported[1]["report.html"].read_text())
    assert [load for load in page.loads if not load.startswith("data:")] == []
    short = [script for script in page.scripts if len(script) < 200_000]  # the long one is plotly's
    assert len(page.scripts) - len(short) == 1
    for text in (*short, *page.styles, *page.own):
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", text.replace('"http://www.w3.org', "")), text[:200]


def test_every_link_of_the_page_leads_to_a_file_beside_it(reported):
    folder, paths = reported
    links = [link for link in Page(paths["report.html"].read_text()).links if not link.startswith("#")]
    assert {"pareto.png", "pareto.svg", "results.csv"} <= set(links)
    assert [link for link in links if not (folder / unquote(link)).exists()] == []


def test_the_page_holds_the_results(reported):
    text = " ".join(Page(reported[1]["report.html"].read_text()).own)
    for label in NETWORKS:
        assert label in text
    assert "step 7: the loss is nan" in text
    assert "resnetrs is 1.01×–1.70× as fast as resnet" in text
    assert "epochs=16" in text and "flip=0" in text
    assert "timm:resnet10t@32, timm:mobilenetv3_small_050@32: stochastic depth by stage" in text
    assert "rescale study pareto" in text and "Imaginary CPU" in text
    assert "360 held-out images: at 97.9 %" in text
    assert "alone leaves an interval of 95 % from 95.7 to 98.9 %" in text
    assert "The highest top-1 is 97.90 ± 0.20 %, by resnetrs50x0.25@32; all seeds differ alike" in text
    assert "resnetrs26x0.125@32, is 3.36× as fast at 91.20 ± 0.20 %." in text
    assert "is better" not in text


def test_speedups_from_one_seed_are_no_claim(tmp_path):
    fake_study(tmp_path / "s", seeds=1)
    sentences = speedup_sentences(gather(tmp_path / "s"))
    assert sentences and all(
        text.endswith("; from one seed, which tells nothing apart") for text in sentences
    )


def test_the_interval_over_images_holds_at_the_ends_too():
    """Wilson's closed form. A standard error would be 0 where all images are right."""
    z = statistics.NormalDist().inv_cdf(0.975)
    for right, images in ((360, 360), (0, 360), (352, 360), (1, 2)):
        share, shrunk = right / images, 1 + z**2 / images
        middle = (share + z**2 / 2 / images) / shrunk
        half = z * (share * (1 - share) / images + (z / 2 / images) ** 2) ** 0.5 / shrunk
        expected = [100 * (middle - half), 100 * (middle + half)]
        assert share_interval(100 * share, images) == pytest.approx(expected, abs=1e-9)
    assert share_interval(100.0, 360) == pytest.approx((98.944, 100.0), abs=1e-3)


def test_notes_are_not_all_about_what_did_not_apply(tmp_path, capsys, monkeypatch):
    """Among them is what was applied, as that the dropout of a resolution without a rate is 0.25."""
    from rescale.cli.report import show_report

    fake_study(tmp_path / "s", seeds=1)
    for path in (tmp_path / "s").rglob("result.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"not_applied": ["dropout is 0.25", *result["not_applied"]]}))
    monkeypatch.setattr("rescale.report.write_report", lambda findings: {})
    show_report(tmp_path / "s", as_json=False)
    printed = capsys.readouterr().out
    assert "note: dropout is 0.25" in printed and "not applied: dropout" not in printed


def test_names_may_be_broken_between_their_parts_and_stay_escaped():
    assert breakable("resnet2-2x0.25+se@8") == "resnet2<wbr>-2x0.25<wbr>+se<wbr>@8"
    assert breakable("a_<b>&c") == "a<wbr>_&lt;b&gt;&amp;c"


def test_failed_networks_are_named_everywhere(reported):
    path, paths = reported
    assert [failure.label for failure in gather(path).failures] == ["resnetrs26x0.5@32"] * 3
    assert "resnetrs26x0.5@32" not in paths["results.csv"].read_text()


@pytest.fixture(scope="module")
def judged_by_error(tmp_path_factory):
    """A study whose headline figure is an error, of which less is better."""
    path = tmp_path_factory.mktemp("reports") / "pose"
    fake_study(path, figure=ERROR)
    return path, write_report(gather(path))


def test_the_page_of_an_error(judged_by_error):
    source = judged_by_error[1]["report.html"].read_text()
    page = Page(source)
    text = " ".join(page.own)
    assert "The lowest mean error is 1.80 ± 0.20 degrees, by resnetrs26x0.5@32;" in text
    assert "resnetrs26x0.125@32, is 4.73× as fast at 8.80 ± 0.20 degrees." in text
    assert "as fast as resnet at equal mean error, compared from 3.90 to 3.10 degrees" in text
    assert "All values are from 360 held-out images. ±" in text and "an interval of 95 %" not in text
    assert "costs more or has a worse mean error" in text and "A lower mean error is better." in text
    assert (
        '<th scope="col" data-first="ascending" aria-sort="ascending"><button>mean error degrees<' in source
    )
    errors = [row[1] for row in page.cells if len(row) > 2 and row[0] in NETWORKS]
    assert errors[:2] == ["1.80 ± 0.20", "2.10 ± 0.20"] and errors[-1] == "10.50 ± 0.20"
    drawn = next(script for script in page.scripts if "mean error, degrees (lower is better)" in script)
    assert "mean error degrees: 1.80" in drawn  # the text at the pointer
    assert "top-1" not in text and "top-1" not in drawn


def test_pictures_table_and_csv_of_an_error(judged_by_error, capsys):
    from rescale.cli.report import show_report

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
    with Image.open(write_report(gather(tmp_path / "s"))["pareto.png"]) as image:
        grey = image.convert("L")
        edges = grey.crop((0, 0, 60, 2)), grey.crop((0, grey.height - 2, 60, grey.height))
    assert all(edge.getextrema() == (255, 255) for edge in edges)


def test_names_are_escaped(tmp_path):
    study = fake_study(tmp_path / "s", seeds=1)
    plan = study.plan_file.read_text().replace("MADE-UP", "<script>alert(1)</script>")
    study.plan_file.write_text(plan)
    text = write_report(gather(study.path))["report.html"].read_text()
    assert "<script>alert(1)" not in text and "&lt;script&gt;alert(1)" in text


def test_the_source_of_the_count_and_remarks_on_several_networks(tmp_path):
    study = fake_study(tmp_path / "s")
    for item in study.plan.items:
        path = study.run(item) / "result.json"
        result = json.loads(path.read_text())
        first = item.label == study.plan.labels[0]
        result["counted"] = "flop counter" if first else "arithmetic"
        result["not_applied"] = [f"{item.label}: stochastic depth by stage"]
        path.write_text(json.dumps(result))
    findings = gather(tmp_path / "s")
    remark = f"those of {study.plan.labels[0]} by torch's flop counter"
    assert remark in findings.counted and remark.replace("'", "&#39;") in page(findings)
    assert remark in str(table(findings).caption)
    assert {row.counted for row in from_csv(to_csv(findings.rows))} == {"flop counter", "arithmetic"}
    assert findings.notes == [f"{first_few(study.plan.labels)}: stochastic depth by stage"]


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
    text = write_report(gather(study.path))["report.html"].read_text()
    assert "No network has finished training yet" in text
    assert re.search(r"not finished, \d+ runs: resnetrs26x0.125@32-s0", text)


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


SORT = "document.querySelectorAll('#networks thead th')[2].click()"  # beside the button, too
LAYOUT = """
  const boxes = [...document.querySelectorAll('#pareto .textpoint text')].map(t => t.getBoundingClientRect());
  const cover = (a, b) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const texts = [...document.querySelectorAll('#pareto .main-svg text')];
  const head = document.querySelector('details table.sorted thead th');
  head.click();
  report({
    background: getComputedStyle(document.body).backgroundColor,
    chart: getComputedStyle(document.querySelector('#pareto .xtitle')).fill,
    font: getComputedStyle(document.querySelector('#pareto .legendtext')).fontFamily,
    page: getComputedStyle(document.body).fontFamily,
    wide: document.documentElement.scrollWidth, window: innerWidth,
    right: Math.max(...texts.map(t => t.getBoundingClientRect().right)),
    names: boxes.length,
    covered: boxes.filter((a, i) => boxes.slice(0, i).some(b => cover(a, b))).length,
    sticky: getComputedStyle(document.querySelector('#networks td')).position,
    sorted: head.getAttribute('aria-sort'),
  })"""


def in_browser(page, script, *, width=1280, dark=False):
    """What a script reports from the page in a browser, in a frame of this width."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser here; the tests without one cover the values and styles")
    inner, outer = page.with_name("inner.html"), page.with_name("outer.html")
    added = (
        "<script>const report = x => parent.postMessage(JSON.stringify(x), '*');"
        f"onload = () => setTimeout(() => {{ {script} }}, 300)</script></body>"
    )
    inner.write_text(page.read_text().replace("</body>", added))
    outer.write_text(
        f"<iframe src='inner.html' width={width} height=900></iframe><pre id=answer></pre><script>"
        "onmessage = message => document.getElementById('answer').textContent = message.data</script>"
    )
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--virtual-time-budget=5000", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
         "--window-size=1400,1000", "--dump-dom", f"file://{outer}"],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return json.loads(html.unescape(done.stdout.split('id="answer">')[1].split("</pre>")[0]))


def test_the_table_sorts_in_a_browser(reported):
    names = "[...document.querySelectorAll('#networks tbody tr')].map(row => row.cells[0].textContent)"
    order = in_browser(reported[1]["report.html"], f"{SORT}; report({names})")
    assert len(order) == 8 and order == sorted(order, key=lambda label: NETWORKS[label][1])


def test_the_page_in_a_browser(reported):
    page = reported[1]["report.html"]
    light, dark = in_browser(page, LAYOUT), in_browser(page, LAYOUT, dark=True)
    assert (light["background"], dark["background"]) == ("rgb(255, 255, 255)", "rgb(22, 24, 27)")
    assert light["chart"] != dark["chart"]
    assert light["font"] == light["page"]
    assert light["names"] == 8 and light["covered"] == 0
    assert light["sorted"] == "ascending"


@pytest.mark.parametrize(
    ("clipboard", "command_works", "button"),
    [
        ("{writeText: async text => { copied = text; }}", "false", "copied"),
        ("{writeText: async () => { throw new Error('forbidden'); }}", "true", "copied"),
        ("undefined", "false", "selected"),  # as in a page that is not served securely
    ],
)
def test_the_copy_button_in_a_browser(reported, clipboard, command_works, button):
    seen = in_browser(
        reported[1]["report.html"],
        f"""
        let copied = "";
        Object.defineProperty(navigator, "clipboard", {{value: {clipboard}}});
        document.execCommand = () => {command_works};
        const pressed = document.querySelector(".command button");
        pressed.click();
        setTimeout(() => report({{
          button: pressed.textContent,
          taken: copied || getSelection().toString(),
          command: document.querySelector(".command pre").textContent,
        }}), 100)""",
    )
    assert seen["command"].startswith("rescale study pareto")
    assert (seen["button"], seen["taken"]) == (button, seen["command"])


def test_the_page_on_a_phone(reported):
    phone = in_browser(reported[1]["report.html"], LAYOUT, width=390)
    assert phone["window"] == 390 and phone["wide"] <= 390 and phone["right"] <= 390
    assert phone["sticky"] == "sticky"


def test_the_sorting_script(reported):
    page = Page(reported[1]["report.html"].read_text())
    rows = [row for row in page.cells if len(row) > 2 and row[0] in NETWORKS]
    assert [row[0] for row in rows[:2]] == ["resnetrs50x0.25@32", "resnetrs26x0.25@32"]
    text = reported[1]["report.html"].read_text()
    keys = [float(key) for key in re.findall(r'<td data-key="([\d.e+-]+)">[\d.]+ ms</td>', text)]
    assert sorted(keys) == sorted(NETWORKS[row[0]][1] / 1000 for row in rows)


def test_the_page_follows_the_systems_colours_and_fits_a_phone(reported):
    style = Page(reported[1]["report.html"].read_text()).styles[0]
    assert "prefers-color-scheme: dark" in style and "color-scheme: light dark" in style
    assert "max-width: 600px" in style and "position: sticky" in style


def test_what_weakens_the_times_stands_beside_the_headline(tmp_path):
    study = fake_study(tmp_path / "s", seeds=1)
    made = timing("resnet26x0.25@32", 0.02)
    made.settings["others_busy_cores"] = 1.4
    study.keep_timing(made.model, made)
    text = page(gather(study.path))
    begin, chart = text.index('<p class="headline">'), text.index("<h2>Speed and accuracy</h2>")
    assert begin < text.index("kept 1.4 cores busy while resnet26x0.25@32 was timed") < chart
    other = replace(made, model="resnet50x0.25@32", settings={**made.settings, "others_busy_cores": 0.6})
    study.keep_timing(other.model, other)
    assert gather(study.path).timing_warnings == [
        "other processes kept 0.6 to 1.4 cores busy while 2 networks were timed: resnet26x0.25@32, "
        "resnet50x0.25@32"
    ]


def test_the_command_can_be_copied(reported):
    text = reported[1]["report.html"].read_text()
    assert re.search(r'<button type="button">copy</button><pre>rescale study pareto', text)
    assert "navigator.clipboard.writeText" in text


def test_a_training_step_is_not_called_latency(reported):
    svg, text = (reported[1][name].read_text() for name in ("pareto.svg", "report.html"))
    assert "training step of 32 images, ms (log scale; bars: quartiles)" in svg and "latency" not in svg
    assert "latency" not in " ".join(Page(text).own).lower()
    assert "training step of 32 images, ms (log scale)" in text


def test_an_inference_is_called_latency(tmp_path):
    study = fake_study(tmp_path / "s", seeds=1)
    study.keep_plan(replace(study.plan, timing=TimingProtocol("infer", batch=1)))
    findings = gather(study.path)
    assert findings.time_of == "latency: inference of 1 image" and findings.time_name == "latency"


def test_no_path_in_titles(tmp_path):
    made = pareto_plan(["/home/me/nets/own.yaml"], ["/home/me/mine.yaml"], "/home/me/images", command="x")
    StudyFolder(tmp_path).keep_plan(made)
    text = " ".join(Page(page(gather(tmp_path))).own)
    assert "images: speed and accuracy" in text and "recipe mine" in text and "/home/me" not in text


def test_shapes_names_bars_and_the_common_front_of_the_chart(tmp_path):
    findings = gather(fake_study(tmp_path / "s").path)
    common, *groups = traces(findings, "latency_s")
    on_front = sorted((row for row in findings.rows if row.on_front), key=lambda row: row.latency_s)
    assert common["y"] == [row.value for row in on_front] and common["line"]["width"] > 5
    points = [trace for trace in groups if "text" in trace]
    assert [trace["marker"]["symbol"] for trace in points] == ["circle", "square", "diamond", "triangle-up"]
    assert sorted(label for trace in points for label in trace["text"]) == sorted(NETWORKS)
    assert all("text" in trace["mode"] for trace in points)
    (mobile,) = (trace for trace in points if trace["text"] == ["timm:mobilenetv3_small_050@32"])
    assert mobile["error_y"]["array"] == [pytest.approx(0.2)]
    assert mobile["error_x"]["arrayminus"] == [pytest.approx(0.05 * 24)]
    assert mobile["error_x"]["array"] == [pytest.approx(0.1 * 24)]
    assert mobile["marker"]["color"] == ["white"]
    assert "error_x" not in next(trace for trace in traces(findings, "macs") if "text" in trace)


def test_networks_are_filled_on_the_front_of_the_measure_that_is_shown(tmp_path):
    study = fake_study(tmp_path / "s", seeds=1)
    big = timing("resnetrs26x0.125@32", 0.011, memory_bytes=10**12)  # fastest, and needs the most memory
    study.keep_timing(big.model, big)
    findings = gather(study.path)

    def filled(measure):
        return {
            label
            for trace in traces(findings, measure)
            if "text" in trace
            for label, colour in zip(trace["text"], trace["marker"]["color"], strict=True)
            if colour != "white"
        }

    assert filled("latency_s") == {row.label for row in findings.rows if row.on_front}
    assert big.model in filled("latency_s") and big.model not in filled("memory_bytes")


def test_groups_look_different():
    assert len({style(i) for i in range(49)}) == 49


def study_of(path, **values):
    """A study of networks with these values of top-1, one for each seed; names with _ for @."""
    labels = {label.replace("_", "@"): own for label, own in values.items()}
    networks = dict.fromkeys(labels, (0.0, 20.0))
    StudyFolder(path).keep_plan(made_up_plan(networks, seeds=max(map(len, values.values()))))
    study = StudyFolder(path)
    for item in study.plan.items:
        if item.seed < len(labels[item.label]):
            finish(study, item, labels[item.label][item.seed])
    return gather(path)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            (97.0,),
            (92.0,),
            "The highest top-1 is 97.00 %, by resnet26@32; by one seed, networks",
        ),
        ((97.0, 97.1), (92.0, 91.8), "by two seeds, networks are not told apart."),
        (
            (97.0, 97.4, 97.2),
            (96.9, 97.5, 96.8),
            ", which is not told apart from resnet50@32 (paired t",
        ),
        (
            (97.0, 97.1, 97.2),
            (92.0, 91.8, 92.1),
            "is told apart from every other network (paired t",
        ),
        ((97.0, 97.1, 97.2), (92.0, 92.1, 92.2), "; all seeds differ alike, so networks are not told apart."),
    ],
)
def test_the_headline_claims_what_the_seeds_tell(tmp_path, first, second, expected):
    text = headline(study_of(tmp_path / "s", resnet26_32=first, resnet50_32=second))
    assert expected in text
    assert "best" not in text and "most accurate" not in text


def test_the_power_of_the_comparison_is_stated(tmp_path):
    findings = study_of(tmp_path / "s", resnet26_32=(97.0, 97.4, 97.2), resnet50_32=(96.9, 97.5, 96.8))
    smallest = float(re.search(r"a true difference of ([\d.]+) points is found with", power(findings))[1])
    assert smallest == pytest.approx(3.3 * statistics.stdev([0.1, -0.1, 0.4]), rel=0.02)
    assert power(study_of(tmp_path / "t", resnet26_32=(97.0,), resnet50_32=(96.9,))) == ""


@pytest.fixture(scope="module")
def additive(tmp_path_factory):
    return gather(additive_study(tmp_path_factory.mktemp("reports") / "additive").path)


def test_a_plan_by_hand_keeps_its_order_and_shows_what_each_row_adds(additive):
    made = Page(page(additive))
    rows = [row for row in made.cells if row and row[0] in ADDITIVE][:4]
    assert [row[0] for row in rows] == list(ADDITIVE)
    above = [row[2] for row in rows]
    assert above[0] == "–" and above[1].startswith("+0.10 (") and above[2].startswith("+3.03 (")
    assert above[3].startswith("\N{MINUS SIGN}0.50 (")
    adds = ["resnet26x0.25@32", "label_smoothing=0.1", "resnet26x0.25+se@32", "dropout=0.9"]
    assert [row[3] for row in rows] == adds
    text = " ".join(made.own)
    assert re.search(r"Changed from the named recipe in all rows:\s+epochs=16\s+\w", text)


def test_differences_to_the_row_above_are_paired_t_tests(additive):
    sample = [a - b for a, b in zip(ADDITIVE["+ SE"][2], ADDITIVE["+ smoothing"][2], strict=True)]
    expected = stats.ttest_1samp(sample, 0.0)
    difference = additive.analysis.differences["+ SE"]
    assert difference.p == pytest.approx(3 * expected.pvalue)
    assert (difference.low, difference.high) == pytest.approx(expected.confidence_interval(1 - 0.05 / 3))
    assert headline(additive) == (
        "Told apart from the row above: + SE (+3.03 points); paired t tests over 3 seeds, 5 % in all 3 "
        "comparisons. 2 other rows are not."
    )


def test_a_plan_by_hand_in_the_terminal(additive):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table(additive))
    lines = console.export_text().splitlines()
    places = [next(i for i, line in enumerate(lines) if label in line) for label in ADDITIVE]
    assert places == sorted(places)
    assert "to the row above" in "".join(lines) and "+3.03 (+" in "".join(lines)


def test_few_seeds_of_a_plan_by_hand_claim_nothing(tmp_path):
    findings = gather(additive_study(tmp_path / "s", seeds=2).path)
    assert headline(findings) == "By two seeds, no row is told apart from the row above."
    assert "+3.05 (two seeds)" in page(findings)


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


def test_ticks_cover_the_bars(tmp_path):
    """One network of 200 ms whose slowest quarter of steps takes 1000 ms and more."""
    fake_study(tmp_path / "s", seeds=1)
    row = replace(gather(tmp_path / "s").rows[0], latency_s=0.2, latency_q1_s=0.16, latency_q3_s=1.0)
    ticks = axis_ticks([row], "latency_s")
    assert ticks[0] <= 200 and ticks[-1] >= 1000


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
    from rescale.cli.report import show_report

    show_report(reported[0], as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert {row["label"] for row in rows} == {row.label for row in gather(reported[0]).rows}
    show_report(reported[0], as_json=False)
    printed = capsys.readouterr().out
    assert "failed: resnetrs26x0.5@32, seed 0: training: step 7: the loss is nan" in printed
    assert printed.strip().endswith("results.csv") and "report.html" in printed


def test_the_budget_spent_and_its_price(tmp_path):
    path = fake_study(tmp_path / "s", seeds=3).path
    results = StudyFolder(path).results()
    hours = sum(result["seconds"] for result in results.values()) / 3600
    findings = gather(path, price_per_hour=2.5)
    assert f"{len(results)} trainings took" in spent(findings)
    assert spent(findings).endswith(f"; price {2.5 * hours:,.2f}.")
    assert "price" not in spent(gather(path))
    groups = {row.group for row in findings.rows}
    assert sum(budget.trainings for budget in findings.budgets.values()) == len(results)
    table = page(findings).split('id="budgets"')[1].split("</table>")[0]
    assert all(f"<td>{group}</td>" in table for group in groups)


def test_a_folder_of_studies_has_an_index(tmp_path, capsys):
    from rescale.cli.report import report

    fake_study(tmp_path / "studies" / "a", seeds=3)
    additive_study(tmp_path / "studies" / "b & <b>")
    (tmp_path / "studies" / "broken").mkdir()
    (tmp_path / "studies" / "broken" / "plan.yaml").write_text("items: 3\n")
    report(tmp_path / "studies")
    printed = capsys.readouterr().out
    assert "not read:" in printed and "broken/plan.yaml" in "".join(printed.split())
    made = Page((tmp_path / "studies" / "index.html").read_text())
    loads = [unquote(load) for load in made.loads if not load.startswith("data:")]
    assert loads == ["a/pareto.png", "b & <b>/steps.png"]
    pages = [unquote(link) for link in made.links]
    assert {"a/report.html", "b & <b>/report.html"} == set(pages)
    assert all((tmp_path / "studies" / page).is_file() for page in pages)
    text = " ".join(made.own)
    for study in ("a", "b & <b>"):
        assert headline(gather(tmp_path / "studies" / study)) in text
    with pytest.raises(UserError, match="no study here"):
        report(tmp_path)


def test_a_network_leads_to_its_runs_their_seeds_curves_and_commands(tmp_path):
    study = fake_study(tmp_path / "s", seeds=2)
    item = study.plan.items[0]
    rows = [{"kind": "train", "step": i + 1, "epoch": 1 + i // 100, "loss": 1 / (i + 1)} for i in range(500)]
    rows.append({"kind": "eval", "step": 250, "epoch": 3, "on": "val", "raw": {"top1": 50.0}})
    rows.append({"kind": "eval", "step": 250, "epoch": 3, "on": "minival", "raw": {"top1": 99.0}})
    rows.append(
        {
            "kind": "eval",
            "step": 500,
            "epoch": 5,
            "on": "val",
            "raw": {"top1": 9.0},
            "averaged": {"top1": 60.0},
        }
    )
    (study.run(item) / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    findings = gather(study.path)
    made = runs_of_networks(findings)
    assert [own.label for own in made] == [row.label for row in findings.rows]
    (own,) = [own for own in made if own.label == item.label]
    assert [run.seed for run in own.runs] == [0, 1] and len(own.panels) == 2
    loss, value = own.panels
    assert len(loss.lines) == 1 and loss.lines[0].count(",") <= 80 and loss.epochs == "5"
    assert (value.low, value.high) == ("50.0", "60.0")
    assert value.lines == ["M160.0,150.0L320.0,0.0"]
    command = shlex.split(own.runs[1].command)
    assert command[:3] == ["rescale", "train", item.model] and command[command.index("--seed") + 1] == "1"
    text = page(findings)
    for other in made:
        assert f'id="{other.anchor}"' in text and f'href="#{other.anchor}"' in text


def test_curves_are_thinned_by_means_and_keep_their_end():
    points = [(float(i), float(i % 2)) for i in range(1001)]
    thin = thinned(points)
    assert len(thin) <= 80 and thin[-1] == points[-1]
    assert all(0.3 < value < 0.7 for _, value in thin[:-1])
    assert thinned(points[:50]) == points[:50]


@pytest.fixture(scope="module")
def additive_page(tmp_path_factory):
    """The page of an additive study, with curves for one network, and an index over it."""
    folder = tmp_path_factory.mktemp("reports")
    study = additive_study(folder / "additive")
    rows = [{"kind": "train", "step": i + 1, "epoch": 1 + i // 100, "loss": 1 / (i + 1)} for i in range(500)]
    for item in study.plan.items[::4]:
        (study.run(item) / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    findings = gather(study.path)
    paths = write_report(findings)
    return paths["report.html"], write_index(folder, [findings], ["a line that could not be read"])


FITS = """
  const opened = document.querySelectorAll("details");
  opened.forEach(part => part.open = true);
  const texts = [...document.querySelectorAll(".figure .main-svg text")].map(t => t.getBoundingClientRect());
  setTimeout(() => report({
    wide: document.documentElement.scrollWidth,
    right: Math.max(0, ...texts.map(text => text.right)),
    left: Math.min(0, ...texts.map(text => text.left)),
    errors,
  }), 200)"""
ERRORS = "<script>const errors = []; addEventListener('error', event => errors.push(event.message));</script>"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("which", [0, 1], ids=["additive", "index"])
def test_nothing_is_wider_than_the_window(additive_page, which, width):
    path = additive_page[which]
    watched = path.with_name("watched.html")
    watched.write_text(path.read_text().replace("<head>", f"<head>{ERRORS}"))
    seen = in_browser(watched, FITS, width=width)
    assert seen["errors"] == [] and seen["wide"] <= width
    assert seen["right"] <= width and seen["left"] >= 0


def test_a_name_and_a_point_lead_to_the_runs(additive_page):
    seen = in_browser(
        additive_page[0],
        """
        const open = () => [...document.querySelectorAll("details.runs[open]")].map(part => part.id);
        const before = open();
        document.querySelector("#networks tbody tr:nth-child(2) a").click();
        setTimeout(() => {
          const byName = open();
          const steps = document.getElementById("steps");
          steps.emit("plotly_click", {points: [{customdata: steps.data[0].customdata[1]}]});
          setTimeout(() => report({before, byName, byPoint: open()}), 200);
        }, 200)""",
    )
    assert seen == {"before": [], "byName": ["runs-2"], "byPoint": ["runs-2", "runs-3"]}
