"""rescale report."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rescale.cli.models import Json
from rescale.layout import wrapped


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A study's folder, or a folder of studies.")
    ],
    price_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="Price of an hour of this machine, to show what the trainings cost."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write report.html, its figures and results.csv of a study, also of an unfinished one.

    Of a folder of studies, write each one's report, and index.html with the answer of each.

    Example: rescale report studies/a
    """
    from rescale.studies.plan_file import PLAN

    if not (folder / PLAN).is_file() and any(folder.glob(f"*/{PLAN}")):
        show_index(folder, as_json, price_per_hour)
    else:
        show_report(folder, as_json, price_per_hour)


def show_index(folder: Path, as_json: bool, price_per_hour: float | None = None) -> None:
    """Write the report of every study of a folder and the index page over them; print each one's answer."""
    from rescale.report import claims, write_report
    from rescale.report.index import gather_all, write_index

    studies, unread = gather_all(folder, price_per_hour)
    for findings in studies:
        write_report(findings)
    index = write_index(folder, studies, unread)
    if as_json:
        rows = {findings.folder.name: [asdict(row) for row in findings.rows] for findings in studies}
        print(json.dumps([rows], indent=1))
        return
    for findings in studies:
        print(wrapped(f"{findings.folder.name}: {claims.headline(findings)}", "  "))
    for line in unread:
        print(wrapped(f"not read: {line}", "  "))
    print(index)


def show_report(folder: Path, as_json: bool, price_per_hour: float | None = None) -> None:
    """Write the report and print its table, speed-ups, failures and paths."""
    from rescale.studies.plan_file import plan_in

    plan_in(folder)  # before torch is imported

    from rescale.report import claims, gather, table, write_report
    from rescale.terminal import console

    findings = gather(folder, price_per_hour)
    paths = write_report(findings)
    if as_json:
        print(json.dumps([asdict(row) for row in findings.rows], indent=1))
        return
    screen = console()
    if findings.rows:
        screen.print(table(findings))
    for line in (
        claims.headline(findings),
        *claims.speedup_sentences(findings),
        *(f"note: {line}" for line in findings.notes),
        *findings.warnings,
        *(
            f"failed: {failure.label}"
            + (f", seed {failure.seed}" if failure.seed is not None else "")
            + f": {failure.what}: {failure.reason}"
            for failure in findings.failures
        ),
        findings.uncertainty,
        claims.power(findings),
        claims.spent(findings),
    ):
        if line:
            print(wrapped(line, "  "))
    for path in paths.values():
        print(path)
