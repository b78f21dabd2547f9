"""Names that look like rich's markup appear unchanged in lines, tables and progress bars."""

from rich.progress import Progress
from rich.table import Table

from rescale.terminal import console, text_column

NAME = "photo [bold red] [link].png [/] :smile:"


def test_lines_and_cells_are_printed_unchanged() -> None:
    screen = console(soft_wrap=True)
    table = Table(NAME, title=NAME, caption=NAME)
    table.add_row(NAME)
    with screen.capture() as captured:
        screen.print(NAME)
        screen.print(table)
    assert captured.get().count(NAME) == 5


def test_progress_columns_are_shown_unchanged() -> None:
    column = text_column("{task.description} {task.fields[note]}")
    bars = Progress(column, console=console(), disable=True)
    task = bars.add_task(NAME, note=NAME)
    assert column.render(bars.tasks[task]).plain == f"{NAME} {NAME}"
