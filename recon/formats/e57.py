"""E57, the exchange format of laser scanners: all scans of a file as one cloud, each moved to where its pose says.

Coordinates are metres (ASTM E2807). A scan has cartesian or spherical points; points that the scanner marks as invalid
are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float64, UInt8

from recon.errors import UserError
from recon.formats.e57_container import E57File, number
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of
from recon.formats.untrusted import plain
from recon.inputs import PointCloud
from recon.rotations import rotation_matrices

CARTESIAN = ("cartesianX", "cartesianY", "cartesianZ")
SPHERICAL = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
COLORS = {"r": "colorRed", "g": "colorGreen", "b": "colorBlue"}
NORMALS = {"nx": "normalX", "ny": "normalY", "nz": "normalZ"}
INVALID = ("cartesianInvalidState", "sphericalInvalidState")
WANTED = {*CARTESIAN, *SPHERICAL, *COLORS.values(), *NORMALS.values(), *INVALID, "intensity"}

Values = Mapping[str, Float64[np.ndarray, "n"]]


def read(path: Path, options: PointOptions) -> PointCloud:
    """The points of all scans in the file's own coordinates. A column that only some of the scans have is left out.

    Raises:
        UserError: the file is no E57 file, is damaged, or holds no points.
    """
    file = E57File(path)
    scans: list[dict[str, np.ndarray]] = []
    invalid = 0
    for scan in file.root.iterfind("{*}data3D/{*}vectorChild"):
        vector = scan.find("{*}points")
        if vector is None or vector.get("recordCount") == "0":
            continue
        columns, unsound = _scan(file, scan, vector)
        scans.append(columns)
        invalid += unsound
    if not scans:
        raise UserError(f"{path}: holds no scan with points")
    shared = set.intersection(*(set(scan) for scan in scans))
    if "x" not in shared or not sum(len(scan["x"]) for scan in scans):
        raise UserError(f"{path}: holds no valid points with cartesian or spherical coordinates")
    together = {name: np.concatenate([scan[name] for scan in scans]) for name in scans[0] if name in shared}
    return cloud_of(together, path, unit="m", notes=_notes(scans, invalid))


def _scan(file: E57File, scan: ElementTree.Element, vector: ElementTree.Element) -> tuple[dict[str, np.ndarray], int]:
    """The columns of one scan, moved by its pose, and the number of points left out as invalid."""
    values = file.columns(vector, WANTED)
    try:
        rotation, translation = _pose(scan)
        points = _points(values)
        columns: dict[str, np.ndarray] = _colors(scan, values)
    except ValueError as problem:
        raise UserError(f"{file.path}: a scan's description cannot be understood ({plain(problem)})") from problem
    if points is None:
        return {}, 0
    columns |= dict(zip("xyz", (points @ rotation.T + translation).T, strict=True))
    if set(NORMALS.values()) <= values.keys():
        normals = np.stack([values[name] for name in NORMALS.values()], axis=1) @ rotation.T
        columns |= dict(zip(NORMALS, normals.T, strict=True))
    if "intensity" in values:
        columns["intensity"] = values["intensity"]
    sound = np.ones(len(points), bool)
    for name in INVALID:
        sound &= values.get(name, np.zeros(1)) == 0
    return {name: column[sound] for name, column in columns.items()}, int(np.count_nonzero(~sound))


def _pose(scan: ElementTree.Element) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3"]]:
    """Rotation and translation from the scan's coordinates to the file's; none is the identity."""
    turn = [number(scan.find(f"{{*}}pose/{{*}}rotation/{{*}}{axis}"), float(axis == "w")) for axis in "wxyz"]
    translation = np.array([number(scan.find(f"{{*}}pose/{{*}}translation/{{*}}{axis}")) for axis in "xyz"])
    length = np.linalg.norm(turn)
    if not (np.isfinite(length) and length > 0 and np.isfinite(translation).all()):
        raise ValueError("its pose is no rotation and translation")
    return rotation_matrices(np.array(turn)), translation


def _points(values: Values) -> Float64[np.ndarray, "n 3"] | None:
    """Cartesian coordinates in the scan's own frame; azimuth runs from x to y, elevation from their plane to z."""
    if set(CARTESIAN) <= values.keys():
        return np.stack([values[name] for name in CARTESIAN], axis=1)
    if not set(SPHERICAL) <= values.keys():
        return None
    radius, azimuth, elevation = (values[name] for name in SPHERICAL)
    flat = radius * np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), radius * np.sin(elevation)], axis=1)


def _colors(scan: ElementTree.Element, values: Values) -> dict[str, UInt8[np.ndarray, "n"]]:
    """sRGB bytes, from the range that the scan's limits state, else from bytes."""
    if not set(COLORS.values()) <= values.keys():
        return {}
    colors: dict[str, UInt8[np.ndarray, "n"]] = {}
    for ours, theirs in COLORS.items():
        low = number(scan.find(f"{{*}}colorLimits/{{*}}{theirs}Minimum"), 0)
        high = number(scan.find(f"{{*}}colorLimits/{{*}}{theirs}Maximum"), 255)
        share = (values[theirs] - low) / (high - low if high > low else 1)
        colors[ours] = np.rint(255 * np.clip(np.nan_to_num(share), 0, 1)).astype(np.uint8)
    return colors


def _notes(scans: list[dict[str, np.ndarray]], invalid: int) -> tuple[str, ...]:
    """What is to be said of several scans and of points left out."""
    notes = []
    if len(scans) > 1:
        notes.append(f"{len(scans)} scans are joined, each moved by its pose.")
    if invalid:
        notes.append(f"{invalid:,} points that the scanner marks as invalid are left out.")
    return tuple(notes)
