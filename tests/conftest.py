"""What the tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# before torch is imported: tests run side by side, and a waiting thread must not keep a core busy
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data_folder() -> Callable[[str], Path]:
    """Real data by name: in RESCALE_DATA, else shared/data beside the project; skips where missing."""
    base = Path(os.environ.get("RESCALE_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (base / name).is_dir():
            pytest.skip(f"no {name} in {base}; set RESCALE_DATA to the folder of real data")
        return base / name

    return find
