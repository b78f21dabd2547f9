"""An index page over the studies of a folder: each one's question and answer, with a link to its page."""

from pathlib import Path
from typing import NamedTuple

import rescale
from rescale.errors import UserError, first_few, plural
from rescale.files import write_text
from rescale.report.claims import headline
from rescale.report.figures import drawn
from rescale.report.findings import Findings, gather
from rescale.studies.plan_file import PLAN

INDEX = "index.html"


class Entry(NamedTuple):
    """A study on the index page.

    Args:
        title, question, answer: as on the study's own page.
        about: data, recipe and length of its runs.
        state: how many of its runs have finished, failed or are missing.
        page: its page's address, relative to the index.
        picture: that of its main figure; empty if nothing has been drawn.
    """

    title: str
    question: str
    answer: str
    about: str
    state: str
    page: str
    picture: str


def studies_in(folder: Path) -> list[Path]:
    """The studies of a folder: its folders with a plan, sorted by name."""
    return sorted(path.parent for path in folder.glob(f"*/{PLAN}"))


def write_index(folder: Path, studies: list[Findings], unread: list[str]) -> Path:
    """Write index.html into a folder whose studies have their reports; returns its path.

    studies: of `gather`. unread: a line for each study that could not be read.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rescale.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("index.html.j2").render(
        title=f"Studies in {folder.resolve().name}",
        count=f"{len(studies)} {'study' if len(studies) == 1 else 'studies'}",
        studies=[_entry(folder, findings) for findings in studies],
        unread=unread,
        version=rescale.__version__,
    )
    write_text(folder / INDEX, text)
    return folder / INDEX


def gather_all(folder: Path, price_per_hour: float | None = None) -> tuple[list[Findings], list[str]]:
    """What is known about each study of a folder, and a line for each that cannot be read.

    Raises UserError if the folder holds no study.
    """
    if not (paths := studies_in(folder)):
        raise UserError(f"{folder}: no study here (no {PLAN}), and none in its folders")
    read: list[Findings] = []
    unread: list[str] = []
    for path in paths:
        try:
            read.append(gather(path, price_per_hour))
        except UserError as error:
            unread += error.lines
    return read, unread


def _entry(folder: Path, findings: Findings) -> Entry:
    place, figures = findings.folder.relative_to(folder), drawn(findings)
    failed = [f"{failure.label}: {failure.reason}" for failure in findings.failures]
    state = f"{len(findings.results)} of {plural(len(findings.plan.items), 'run')} finished."
    if failed:
        state += f" Failed: {first_few(failed, 3)}."
    return Entry(
        findings.plan.title,
        findings.kind.QUESTION,
        headline(findings),
        findings.trained_on,
        state,
        (place / "report.html").as_posix(),
        (place / f"{figures[0]}.png").as_posix() if figures else "",
    )
