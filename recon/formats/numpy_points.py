"""NPY and NPZ: points as numpy arrays. Nothing in them is unpickled.

An array is (n, k) with k >= 3 columns, (h, w, k) as a depth camera orders it, or has named fields. An archive holds one
of these, and may hold more of the same length: colours, normals, intensity.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from recon.errors import UserError
from recon.formats.column_guess import columns_from_option, guessed_columns, told
from recon.formats.numpy_arrays import read_archive, read_array
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of, known_names
from recon.inputs import PointCloud

SAMPLE_ROWS = 2000
COMPANIONS = {"colors": "rgb", "color": "rgb", "rgb": "rgb", "normals": "n", "normal": "n"}
COORDINATES = ("points", "xyz", "vertices", "positions", "position", "pos", "coords", "means3d", "means")


def read(path: Path, options: PointOptions) -> PointCloud:
    """The points in an array file or archive.

    Raises:
        UserError: it is no numpy file, promises more than it holds, needs pickle, or no array in it has the shape of
            points.
    """
    arrays = read_archive(path) if zipfile.is_zipfile(path) else {"points": read_array(path)}
    columns, notes = _columns(path, arrays, options)
    return cloud_of(columns, path, unit=options.unit or "unknown", notes=notes)


def _columns(
    path: Path, arrays: dict[str, Shaped[np.ndarray, "..."]], options: PointOptions
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The columns of the points, and the note that says how they were understood."""
    lower = {name.lower(): array for name, array in arrays.items()}
    flat = {name: array for name, array in lower.items() if array.ndim == 1 and array.dtype.names is None}
    main = next((lower[name] for name in COORDINATES if name in lower), None)
    if main is None and {"x", "y", "z"} <= known_names(list(flat)).keys():
        return _of_one_length(path, flat), ()
    if main is None:
        main = next((array for array in lower.values() if array.dtype.names or array.ndim > 1), None)
    if main is None:
        raise UserError(f"{path}: holds no array of points; (n, 3) or more columns, or fields x, y and z, are needed")
    if main.dtype.names:
        rows = main.ravel()
        return {name: rows[name] for name in main.dtype.names if rows[name].ndim == 1}, ()
    if main.ndim not in (2, 3) or main.shape[-1] < 3 or not main.size:
        raise UserError(f"{path}: its array of the shape {main.shape} is no list of points; (n, 3) or more is needed")
    columns, notes = _of_rows(path, main.reshape(-1, main.shape[-1]), options)
    for name, array in lower.items():
        if name in COMPANIONS and array.ndim == main.ndim and array.shape[-1] >= 3:
            names = "rgb" if COMPANIONS[name] == "rgb" else ("nx", "ny", "nz")
            columns |= dict(zip(names, array.reshape(-1, array.shape[-1])[:, :3].T, strict=True))
        elif name in known_names([name]) and name in flat:
            columns[name] = array
    return _of_one_length(path, columns), notes


def _of_rows(
    path: Path, rows: Shaped[np.ndarray, "n k"], options: PointOptions
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The columns of a plain array, named by the option or by their values."""
    if options.columns is not None:
        return dict(zip(columns_from_option(options.columns, rows.shape[1], path), rows.T, strict=True)), ()
    names = guessed_columns(rows[:SAMPLE_ROWS].astype(np.float64))
    return dict(zip(names, rows.T, strict=True)), (told(names, "guessed from their values"),)


def _of_one_length(path: Path, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise UserError(f"{path}: its arrays have different lengths: {', '.join(map(str, sorted(lengths)))}")
    return columns
