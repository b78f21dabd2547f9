"""What a recipe needs that may not be installed."""

import re
from importlib.metadata import PackageNotFoundError, version

from rescale.errors import UserError
from rescale.recipes.recipe import Recipe

TIMM_WITH_MUON = (1, 0, 27)  # older ones kept AdamW's part at its first learning rate


def check_installed(recipe: Recipe) -> None:
    """Check that the recipe's optimizer is installed; imports nothing heavy.

    Raises:
        UserError: Muon without timm, or with a timm whose Muon follows no schedule.
    """
    if recipe.optimizer != "muon":
        return
    needed = ".".join(map(str, TIMM_WITH_MUON))
    install = f"pip install 'timm>={needed}', or --set optimizer=adamw"
    try:
        installed = version("timm")
    except PackageNotFoundError:
        raise UserError(f"optimizer muon is timm's, which is not installed; {install}") from None
    if tuple(map(int, re.findall(r"\d+", installed)[:3])) < TIMM_WITH_MUON:
        raise UserError(f"optimizer muon needs timm {needed} or later, found {installed}; {install}")
