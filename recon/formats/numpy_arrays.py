"""NPY and NPZ: arrays of numbers as numpy keeps them. Nothing in them is unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from jaxtyping import Shaped
from numpy.lib import format as npy

from recon.errors import UserError
from recon.formats.untrusted import GZIP_MAX_RATIO, failures_named, plain
from recon.limits import require_memory


def read_array(path: Path) -> Shaped[np.ndarray, "..."]:
    """The array of an NPY file.

    Raises:
        UserError: it is no numpy file, promises more than it holds, or needs pickle.
    """
    with failures_named(path), path.open("rb") as file:
        return _array(path, file, path.stat().st_size)


def read_archive(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of an NPZ archive by name.

    Raises:
        UserError: as `read_array`.
    """
    arrays: dict[str, Shaped[np.ndarray, "..."]] = {}
    try:
        with failures_named(path), zipfile.ZipFile(path) as archive:
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
