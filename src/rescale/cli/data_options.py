"""The options that say which data a command uses, shared by all commands."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rescale.data import DataSpec

TrainPart = Annotated[
    str,
    typer.Option(
        "--train", metavar="PATH", help="Instead of the data set's path: that of its training part."
    ),
]
ValPart = Annotated[
    str,
    typer.Option("--val", metavar="PATH", help="With --train: the validation part; default: a tenth of it."),
]


def data_spec(data: str, train: str, val: str) -> "DataSpec | None":
    """The data that the options state; None if they state none.

    Raises:
        UserError: the whole data set and a part of it are given.
    """
    from rescale.data import DataSpec
    from rescale.errors import UserError

    if data and (train or val):
        option = "--train" if train else "--val"
        raise UserError(
            f"both the data {data} and {option} are given; give the data set's path, whose parts are "
            f"recognised by their names, or --train PATH --val PATH"
        )
    if not (data or train or val):
        return None
    return DataSpec.of({"source": data, "train": train, "val": val})
