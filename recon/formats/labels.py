"""The table of labels that a reader gives: ids ascending, every name unique, every label with a colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from recon.formats.untrusted import plain
from recon.inputs import distinct_color
from recon.slices import Label

Color = tuple[float, float, float]


def label_table(
    ids: Iterable[int], names: Mapping[int, str] | None = None, colors: Mapping[int, Color] | None = None
) -> tuple[Label, ...]:
    """The labels of these ids, sorted. A label that the file does not name is called "label <id>", or "object" where
    it is the only one; a name met twice gets its id appended; missing colours are distinct ones."""
    names, colors = names or {}, colors or {}
    ids = sorted(ids)
    table: list[Label] = []
    taken: set[str] = set()
    for position, label in enumerate(ids):
        name = plain(names.get(label, "")) or ("object" if len(ids) == 1 else f"label {label}")
        while name in taken:
            name = f"{name} ({label})"
        taken.add(name)
        table.append(Label(label, name, colors.get(label) or distinct_color(position)))
    return tuple(table)


def color_from_bytes(values: Iterable[float]) -> Color:
    """Three numbers of 0 to 255 as sRGB in [0, 1], out-of-range ones clipped."""
    red, green, blue = (min(max(float(value) / 255, 0.0), 1.0) for value in values)
    return red, green, blue


def color_from_cielab(encoded: Iterable[int]) -> Color:
    """sRGB of DICOM's integer CIELab (PS3.3 C.10.7.1.1: L* 0..100 and a*, b* -128..127, each over 0..65535, white D50).

    L* = 65535 -> 100; a* = b* = 0x8080 -> 0. The way to sRGB is CIE's: Lab -> XYZ (D50) -> linear sRGB, with the
    Bradford-adapted matrix, -> gamma.
    """
    lightness, a, b = np.asarray(list(encoded), np.float64) * (100 / 65535, 255 / 65535, 255 / 65535) - (0, 128, 128)
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.96422, 1.0, 0.82521)
    to_linear = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.clip(np.array(to_linear) @ xyz, 0, 1)
    red, green, blue = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return float(red), float(green), float(blue)
