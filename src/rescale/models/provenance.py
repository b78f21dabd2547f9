"""Which code a model comes from, where that code is not ours."""

import hashlib
import inspect
from importlib.metadata import version
from pathlib import Path

from rescale.models.external import External, python_function
from rescale.network import Network


def code_of(model: Network | External) -> str:
    """The library's version or a hash of the source file of an external model; empty for our own networks.

    Two runs of the same external model are equal only if this is equal too. Modules that the source file
    imports are not looked at.
    """
    if isinstance(model, Network):
        return ""
    if model.origin.startswith("timm:"):
        return f"timm {version('timm')}"
    source = inspect.getsourcefile(inspect.unwrap(python_function(model)))
    if source is None:
        return "unknown"
    with Path(source).open("rb") as file:
        return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
