"""From named columns to a cloud: what PLY, PCD, text and array files have in common.

Whatever the file, a point is a row and its numbers stand in columns with names. This module knows under which names
programs write coordinates, normals, colours, intensity and classes, and in which ranges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Num, Shaped, UInt8

from recon.errors import UserError
from recon.formats.untrusted import LARGEST_COORDINATE, plain
from recon.inputs import PointCloud

Columns = Mapping[str, Shaped[np.ndarray, "n"]]

NAMES = {
    "x": ("x", "//x", "#x", "x[m]", "x_coordinate", "easting"),
    "y": ("y", "y[m]", "y_coordinate", "northing"),
    "z": ("z", "z[m]", "z_coordinate", "elevation", "height"),
    "nx": ("nx", "normal_x", "n_x", "normalx"),
    "ny": ("ny", "normal_y", "n_y", "normaly"),
    "nz": ("nz", "normal_z", "n_z", "normalz"),
    "r": ("r", "red", "diffuse_red"),
    "g": ("g", "green", "diffuse_green"),
    "b": ("b", "blue", "diffuse_blue"),
    "intensity": ("intensity", "scalar_intensity", "reflectance", "scalar_reflectance"),
    "class": ("class", "classification", "scalar_classification"),
}
"""Lower-case names that programs give to a column, the usual one first."""


def cloud_of(
    columns: Columns,
    path: Path,
    *,
    unit: str = "unknown",
    up: tuple[float, float, float] = (0.0, 0.0, 1.0),
    notes: tuple[str, ...] = (),
) -> PointCloud:
    """The cloud in columns of equal length; rows without finite coordinates are left out, with a note.

    Raises:
        UserError: a coordinate has no column, or no row has finite coordinates.
    """
    names = list(columns)
    known = {ours: columns[names[index]] for ours, index in known_names(names).items()}
    missing = [axis for axis in "xyz" if axis not in known]
    if missing:
        there = plain(", ".join(names)) or "none"
        raise UserError(f"{path}: its points have no column {missing[0]}; the columns are: {there}")
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is sorted out here
        points = np.stack([np.asarray(known[axis], np.float64) for axis in "xyz"], axis=1)
        sound = np.all(np.abs(points) <= LARGEST_COORDINATE, axis=1)
        told = [*notes, *_left_out(sound, path)]
        if not sound.all():
            points, known = points[sound], {name: values[sound] for name, values in known.items()}
        return PointCloud(
            points,
            normals=_normals(known, told),
            colors=_colors(known),
            intensity=np.asarray(known["intensity"], np.float32) if "intensity" in known else None,
            classification=_classes(known, told),
            unit=unit,
            up=up,
            notes=tuple(told),
        )


def known_names(names: Sequence[str]) -> dict[str, int]:
    """Which of the columns with these names hold what: the indices under the keys of `NAMES`."""
    lower = [name.strip().lower() for name in names]
    found = {ours: [lower.index(name) for name in theirs if name in lower] for ours, theirs in NAMES.items()}
    return {ours: indices[0] for ours, indices in found.items() if indices}


def color_bytes(values: Num[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """sRGB bytes of colours whose greatest number tells their range: 0 to 1, to 255, or to 65535."""
    if values.dtype == np.uint8 or not len(values):
        return values.astype(np.uint8)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) if values.dtype.kind == "f" else values
    most = values.max()
    if most > 255:
        return np.clip(values / 256, 0, 255).astype(np.uint8)
    if values.dtype.kind == "f" and most <= 1:
        values = np.rint(values * 255)
    return np.clip(values, 0, 255).astype(np.uint8)


def _left_out(sound: Bool[np.ndarray, "n"], path: Path) -> list[str]:
    """The note that tells of rows without finite coordinates, or with such that are no lengths any more.

    Raises:
        UserError: there are no others.
    """
    dropped = len(sound) - int(np.count_nonzero(sound))
    if dropped == len(sound):
        raise UserError(
            f"{path}: holds no point with finite coordinates among its {dropped}; nothing can be made of it"
        )
    return [f"{dropped:,} of {len(sound):,} points have no finite coordinates and are left out."] if dropped else []


def _colors(known: Columns) -> UInt8[np.ndarray, "n 3"] | None:
    if not {"r", "g", "b"} <= known.keys():
        return None
    return color_bytes(np.stack([known[name] for name in "rgb"], axis=1))


def _normals(known: Columns, notes: list[str]) -> Float32[np.ndarray, "n 3"] | None:
    """Unit normals; none where some rows have no direction, because a method could not tell them apart."""
    if not {"nx", "ny", "nz"} <= known.keys():
        return None
    normals = np.stack([np.asarray(known[name], np.float64) for name in ("nx", "ny", "nz")], axis=1)
    lengths = np.linalg.norm(normals, axis=1)
    unusable = int(np.count_nonzero(~(np.isfinite(lengths) & (lengths > 0))))
    if unusable:
        notes.append(f"{unusable:,} of {len(normals):,} normals are zero or not finite; the normals are not used.")
        return None
    return (normals / lengths[:, None]).astype(np.float32)


def _classes(known: Columns, notes: list[str]) -> UInt8[np.ndarray, "n"] | None:
    """Classes from 0 to 255."""
    if "class" not in known:
        return None
    values = np.asarray(known["class"], np.float64)
    if not ((values >= 0) & (values <= 255) & (values == np.floor(values))).all():
        notes.append("The column of classes holds other numbers than 0 to 255; it is not used.")
        return None
    return values.astype(np.uint8)
