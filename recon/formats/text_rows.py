"""Rows of numbers in text, parsed by numpy's C reader (about a microsecond a row); failures name the row."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.formats.untrusted import plain


def read_rows(
    lines: Iterable[str],
    path: Path,
    separator: str | None = None,
    columns: Sequence[int] | None = None,
    count: int | None = None,
    comment: str | None = None,
) -> Float64[np.ndarray, "n k"]:
    """The numbers in the lines, blank ones left out: all columns or those of these indices, all rows or the first
    `count`. Without a separator, blanks separate.

    Raises:
        UserError: a word is no number, or rows differ in length; the sentence gives the row, counted from 1.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # no rows are no reason to warn
            return np.loadtxt(
                lines, np.float64, comment, separator, usecols=columns, max_rows=count, ndmin=2, quotechar='"'
            )
    except ValueError as problem:
        raise UserError(f"{path}: {_sentence(str(problem))}") from problem


def _sentence(problem: str) -> str:
    """numpy's message in our words; it counts rows from 0 or from 1, as the case may be."""
    if found := re.match(r"could not convert string (.*) to float64 at row (\d+), column (\d+)", problem, re.DOTALL):
        word, row, column = found.groups()
        return f"row {int(row) + 1}, column {column} of the points holds {plain(word, 40)}, which is no number"
    if found := re.match(r"the number of columns changed from (\d+) to (\d+) at row (\d+)", problem):
        return "row {2} of the points has {1} columns where those before have {0}".format(*found.groups())
    if found := re.match(r"invalid column index \d+ at row (\d+) with (\d+) columns", problem):
        return "row {} of the points has only {} columns".format(*found.groups())
    return f"its rows of numbers cannot be read ({plain(problem)})"
