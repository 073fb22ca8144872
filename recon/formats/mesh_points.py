"""OBJ and STL as points: the vertices; faces are passed over, and need not be there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.formats import stl
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of
from recon.formats.text_rows import read_rows
from recon.formats.untrusted import failures_named
from recon.inputs import PointCloud


def read(path: Path, options: PointOptions) -> PointCloud:
    """The vertices of an OBJ file with colours behind the coordinates, if all have them, and with a normal each, if
    there are as many; or the distinct corners of an STL file's triangles.

    Raises:
        UserError: there are no vertices, or a line or the file is damaged.
    """
    unit = options.unit or "unknown"
    if path.suffix.lower() == ".stl":
        with failures_named(path), np.errstate(invalid="ignore"):  # stl refuses what is not finite
            mesh = stl.read(path).mesh
        assert mesh is not None
        return cloud_of(dict(zip("xyz", np.asarray(mesh.vertices).T, strict=True)), path, unit=unit)
    vertices, normals = _rows(path, "v"), _rows(path, "vn")
    if vertices.shape[1] < 3 or not len(vertices):
        raise UserError(f"{path}: holds no vertices; they are lines of the form: v x y z")
    columns = dict(zip("xyz", vertices.T, strict=False))
    if vertices.shape[1] >= 6:  # x y z, sometimes w, then r g b
        columns |= dict(zip("rgb", vertices[:, -3:].T, strict=True))
    if normals.shape == (len(vertices), 3):
        columns |= dict(zip(("nx", "ny", "nz"), normals.T, strict=True))
    return cloud_of(columns, path, unit=unit)


def _rows(path: Path, word: str) -> Float64[np.ndarray, "n k"]:
    """The numbers of an OBJ file's lines that begin with this word."""
    with failures_named(path), path.open(encoding="latin-1") as file:
        start = f"{word} "
        return read_rows((line.removeprefix(start) for line in file if line.startswith(start)), path)
