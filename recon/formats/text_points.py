"""Points as text: XYZ, CSV, TXT, ASC, PTS. A row a point; the separator and what the columns hold are found out.

What stands before the first row of numbers is the head: comments, names of columns, or the count of points (PTS).
Columns are named by --columns, else by the head, else by their values; a note says how.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.formats.column_guess import SKIP, columns_from_option, guessed_columns, told
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of, known_names
from recon.formats.text_rows import read_rows
from recon.formats.untrusted import failures_named
from recon.inputs import PointCloud

HEAD_LINES = 200
LONGEST_LINE = 1 << 16
SAMPLE_ROWS = 2000
COMMENT = re.compile(r"^\s*(#|//|%|!)+\s*")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class _Layout:
    """How the rows are written: `head` lines stand before them, blanks separate where `separator` is None, `numeric`
    are the columns that hold numbers, and `names` are those that the head gives to all columns, if it does."""

    head: int
    separator: str | None
    decimal_comma: bool
    numeric: tuple[int, ...]
    names: tuple[str, ...]


def read(path: Path, options: PointOptions) -> PointCloud:
    """The points in a text file.

    Raises:
        UserError: no line holds three numbers, a row cannot be read (the sentence says which), or the columns do not
            fit --columns.
    """
    with failures_named(path):
        layout = _layout_of(path)
        names, notes = _columns(path, layout, options)
        wanted = [index for index, name in zip(layout.numeric, names, strict=True) if name != SKIP]
        rows = _rows(path, layout, wanted)
    found = [name for name in names if name != SKIP]
    columns = {name: rows[:, i] for i, name in enumerate(found)}
    return cloud_of(columns, path, unit=options.unit or "unknown", notes=notes)


def _columns(path: Path, layout: _Layout, options: PointOptions) -> tuple[list[str], tuple[str, ...]]:
    """What each numeric column holds, and a note where it was not said by the user."""
    if options.columns is not None:
        last = layout.numeric[-1] + 1
        names = columns_from_option(options.columns, last, path)
        words = [name for i, name in enumerate(names) if name != SKIP and i not in layout.numeric]
        if words:
            raise UserError(f"--columns {options.columns}: the column named {words[0]} holds no numbers in {path}")
        return [names[i] for i in layout.numeric], ()
    known = {index: ours for ours, index in known_names(layout.names).items()}
    if {"x", "y", "z"} <= set(known.values()):
        names = [known.get(i, SKIP) for i in layout.numeric]
        return names, (told(names, "as the file names them"),)
    sample = _rows(path, layout, layout.numeric, SAMPLE_ROWS)
    names = guessed_columns(sample, intensity_first=path.suffix.lower() == ".pts")
    return names, (told(names, "guessed from their values"),)


def _layout_of(path: Path) -> _Layout:
    """The layout that the first row of numbers has.

    Raises:
        UserError: there is none near the beginning.
    """
    names: list[str] = []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number in range(HEAD_LINES):
            line = file.readline(LONGEST_LINE)
            separator, decimal_comma, words = _split(line)
            numeric = tuple(i for i, word in enumerate(words) if NUMBER.fullmatch(word))
            if len(numeric) >= 3:
                fits = len(names) >= numeric[-1] + 1
                return _Layout(number, separator, decimal_comma, numeric, tuple(names) if fits else ())
            if words and words[0].lower() == "ncols":
                raise UserError(
                    f"{path}: is a grid of elevations, not a list of points; convert it to x y z rows first"
                )
            named = _split(COMMENT.sub("", line, count=1))[2]
            names = named if len(named) >= 3 else names
    raise UserError(f"{path}: none of its first lines holds three numbers; a point is a row with x, y and z")


def _split(line: str) -> tuple[str | None, bool, list[str]]:
    """A row's separator, whether its numbers have decimal commas, and its words with points instead."""
    blanks = line.split()
    fractions = sum(DECIMAL_COMMA.fullmatch(word) is not None for word in blanks)
    decimal_comma = ";" in line and "," in line or fractions >= 3 and "." not in line
    separator = ";" if ";" in line else "," if "," in line and not decimal_comma else None
    text = line.replace(",", ".") if decimal_comma else line
    return separator, decimal_comma, [word.strip().strip('"') for word in text.strip().split(separator)]


def _rows(path: Path, layout: _Layout, columns: Sequence[int], count: int | None = None) -> Float64[np.ndarray, "n k"]:
    """The numbers in these columns, of all rows or the first `count`."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for _ in range(layout.head):
            file.readline(LONGEST_LINE)
        lines = (line.replace(",", ".") for line in file) if layout.decimal_comma else file
        return read_rows(lines, path, layout.separator, columns, count, comment="#")
