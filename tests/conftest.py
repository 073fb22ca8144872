"""Where the tests find data: what the repository carries, and the larger sets that RELIEF_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The repository's data/."""
    return ROOT / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of larger sets; the test is skipped where it is missing."""
    folder = Path(os.environ.get("RELIEF_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the larger data sets: {folder} is missing, RELIEF_DATA names their folder")
    return folder
