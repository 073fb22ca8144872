"""PLY as points: the vertices with normals, colours, intensity and classes. Faces are passed over.

Written as binary little-endian; coordinates as float64 where float32 would lose them. Relief's comment holds unit and
upward direction, as in PLY meshes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from recon.errors import UserError
from recon.files import replacing
from recon.formats.meshes import float32_loses
from recon.formats.options import PointOptions
from recon.formats.ply import facts_in
from recon.formats.ply_elements import read_ply
from recon.formats.point_columns import cloud_of
from recon.formats.untrusted import failures_named
from recon.inputs import PointCloud

PLY_NAMES = {"<f8": "double", "<f4": "float", "|u1": "uchar"}


def read(path: Path, options: PointOptions) -> PointCloud:
    """The vertices of a text or binary PLY file.

    Raises:
        UserError: the file is no PLY file, is shorter than its header says, or has no vertices with x, y and z.
    """
    with failures_named(path):
        file = read_ply(path, last="vertex")
    vertex = file.tables.get("vertex")
    if not vertex:
        raise UserError(f"{path}: holds no vertices; points are the rows of a PLY file's element vertex")
    columns = {name: values for name, values in vertex.items() if isinstance(values, np.ndarray)}
    facts = facts_in(file.comments)
    unit = (options.unit or "unknown") if facts.unit == "unknown" else facts.unit
    return cloud_of(columns, path, unit=unit, up=facts.up)


def write_points(cloud: PointCloud, path: Path) -> None:
    """Writes the cloud with all that is known of its points; the notes are not kept."""
    wide = float32_loses(cloud.points)
    columns = {axis: cloud.points[:, i].astype("<f8" if wide else "<f4") for i, axis in enumerate("xyz")}
    if cloud.normals is not None:
        columns |= {f"n{axis}": cloud.normals[:, i].astype("<f4") for i, axis in enumerate("xyz")}
    if cloud.colors is not None:
        columns |= {name: cloud.colors[:, i] for i, name in enumerate(("red", "green", "blue"))}
    if cloud.intensity is not None:
        columns["intensity"] = cloud.intensity.astype("<f4")
    if cloud.classification is not None:
        columns["classification"] = cloud.classification
    rows = np.zeros(len(cloud.points), [(name, values.dtype.str) for name, values in columns.items()])
    for name, values in columns.items():
        rows[name] = values
    facts = json.dumps({"unit": cloud.unit, "up": list(cloud.up)})
    lines = ["ply", "format binary_little_endian 1.0", f"comment relief {facts}", f"element vertex {len(rows)}"]
    lines += [f"property {PLY_NAMES[values.dtype.str]} {name}" for name, values in columns.items()]
    with replacing(path) as partial, partial.open("wb") as file:
        file.write("\n".join([*lines, "end_header", ""]).encode("ascii"))
        file.write(rows.tobytes())
