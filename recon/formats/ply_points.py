"""PLY as points: the vertices with normals, colours and intensity; faces are passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.errors import UserError
from recon.formats.options import PointOptions
from recon.formats.ply_elements import read_ply
from recon.formats.point_columns import cloud_of
from recon.inputs import PointCloud


def read(path: Path, options: PointOptions) -> PointCloud:
    """The vertices of a text or binary PLY file.

    Raises:
        UserError: the file is no PLY file, is shorter than its header says, or has no vertices with x, y and z.
    """
    file = read_ply(path)
    vertex = file.tables.get("vertex")
    if not vertex:
        raise UserError(f"{path}: holds no vertices; points are the rows of a PLY file's element vertex")
    columns = {name: values for name, values in vertex.items() if isinstance(values, np.ndarray)}
    return cloud_of(columns, path, unit=options.unit or "unknown")
