"""NPY and NPZ: points as numpy arrays. Nothing in them is unpickled.

An array is (n, k) with k >= 3 columns, (h, w, k) as a depth camera orders it, or has named fields. An archive holds one
of these, and may hold more of the same length: colours, normals, intensity.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from jaxtyping import Shaped
from numpy.lib import format as npy

from recon.errors import UserError
from recon.formats.column_guess import columns_from_option, guessed_columns, told
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of, known_names
from recon.formats.untrusted import GZIP_MAX_RATIO, failures_named, plain
from recon.inputs import PointCloud
from recon.limits import require_memory

SAMPLE_ROWS = 2000
COMPANIONS = {"colors": "rgb", "color": "rgb", "rgb": "rgb", "normals": "n", "normal": "n"}
COORDINATES = ("points", "xyz", "vertices", "positions", "position", "pos", "coords", "means3d", "means")


def read(path: Path, options: PointOptions) -> PointCloud:
    """The points in an array file or archive.

    Raises:
        UserError: it is no numpy file, promises more than it holds, needs pickle, or no array in it has the shape of
            points.
    """
    with failures_named(path):
        arrays = _archive(path) if zipfile.is_zipfile(path) else {"points": _single(path)}
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


def _single(path: Path) -> Shaped[np.ndarray, "..."]:
    with path.open("rb") as file:
        return _array(path, file, path.stat().st_size)


def _archive(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of an NPZ archive by name."""
    arrays: dict[str, Shaped[np.ndarray, "..."]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            promised = sum(member.file_size for member in members)
            known = all(member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members)
            if not known or promised > path.stat().st_size * GZIP_MAX_RATIO:
                raise UserError(f"{path}: is packed in a way that numpy does not write, or promises too much")
            require_memory(2 * promised, f"{path} holds {promised >> 20} MB of arrays; give a smaller archive")
            for member in members:
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = _array(path, file, member.file_size)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as problem:
        raise UserError(f"{path}: is no sound NPZ archive ({plain(problem)})") from problem
    return arrays


def _array(path: Path, file: IO[bytes], size: int) -> Shaped[np.ndarray, "..."]:
    """One NPY array out of `size` bytes: numbers, or records of numbers."""
    try:
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, column_major, kind = header(file)
    except (ValueError, SyntaxError, TypeError, RecursionError, TokenError) as problem:
        raise UserError(f"{path}: is no numpy array ({plain(problem)})") from problem
    count = int(np.prod(shape, dtype=object))
    kinds = [kind] if kind.fields is None else [kind[name].base for name in kind.names or ()]
    if any(one.kind not in "fiu" for one in kinds) or not kind.itemsize:
        raise UserError(f"{path}: its array holds {plain(kind, 60)}, not numbers")
    if not 0 <= count * kind.itemsize <= size:
        raise UserError(f"{path}: its header promises {count} x {kind.itemsize} bytes, the file holds {size} in all")
    content = file.read(count * kind.itemsize)
    if len(content) < count * kind.itemsize:
        raise UserError(f"{path}: its array is cut short: {len(content)} of {count * kind.itemsize} bytes are there")
    return np.frombuffer(content, kind).reshape(shape, order="F" if column_major else "C")
