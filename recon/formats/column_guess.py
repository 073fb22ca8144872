"""What columns without names hold, by the ranges of their values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.formats.point_columns import NAMES

SKIP = "skip"
UNIT_LENGTH = 0.02  # how far a normal's length may be from 1: three digits behind the point are usual


def columns_from_option(text: str, count: int, path: Path) -> list[str]:
    """The names that the option --columns gives to the columns of a file.

    Raises:
        UserError: a name is unknown, x, y or z is missing, one is given twice, or there are more than the file's.
    """
    names = [name.strip().lower() for name in text.split(",")]
    wrong = [name for name in names if name not in NAMES and name != SKIP]
    if wrong:
        raise UserError(f"--columns {text}: {wrong[0]!r} is none of {', '.join(NAMES)} and {SKIP}")
    given = [name for name in names if name != SKIP]
    if not {"x", "y", "z"} <= set(given) or len(set(given)) < len(given):
        raise UserError(f"--columns {text}: needs x, y and z, and each name at most once")
    if len(names) > count:
        raise UserError(f"--columns {text}: names {len(names)} columns, {path} has {count}")
    return names + [SKIP] * (count - len(names))


def guessed_columns(sample: Float64[np.ndarray, "n k"], intensity_first: bool = False) -> list[str]:
    """Names for the columns of these rows: x, y, z, and then normals (unit length), colours (bytes, or fractions from
    0 to 1) and intensity (a number by itself), as they come; `intensity_first` says that it stands before colours."""
    count = sample.shape[1]
    names = ["x", "y", "z"]
    if intensity_first and count > len(names):
        names.append("intensity")
    while len(names) < count:
        three = sample[:, len(names) : len(names) + 3]
        if three.shape[1] == 3 and "nx" not in names and _are_normals(three):
            names += ["nx", "ny", "nz"]
        elif three.shape[1] == 3 and "r" not in names and _are_colors(three):
            names += ["r", "g", "b"]
        else:
            names.append(SKIP if "intensity" in names or not _is_level(three[:, 0]) else "intensity")
    return names


def told(names: Sequence[str], how: str) -> str:
    """The note that says how columns were understood."""
    return f"Columns, {how}: {', '.join(names)}; --columns says otherwise."


def _are_normals(three: Float64[np.ndarray, "n 3"]) -> bool:
    lengths = np.linalg.norm(three, axis=1)
    return bool(np.mean(np.abs(lengths - 1) < UNIT_LENGTH) > 0.99)


def _are_colors(three: Float64[np.ndarray, "n 3"]) -> bool:
    """Whole numbers up to 255, or fractions up to 1."""
    whole = bool((three == np.floor(three)).all())
    return bool((three >= 0).all()) and bool(three.max() <= (255 if whole else 1))


def _is_level(column: Float64[np.ndarray, "n"]) -> bool:
    """Whether these can be intensities: finite numbers that are not all the same."""
    return bool(np.isfinite(column).all()) and bool(np.ptp(column) > 0)
