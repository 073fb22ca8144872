"""PCD, the format of the Point Cloud Library: a text header, then rows as text, as bytes, or compressed columns.

    VERSION FIELDS SIZE TYPE COUNT WIDTH HEIGHT VIEWPOINT POINTS DATA        one line each
    rgb, rgba                                                                a colour, packed in 4 bytes as b, g, r, a
    DATA binary_compressed                                                   two sizes, then LZF over the columns

Points that the sensor missed are NaN. VIEWPOINT is where the sensor stood; the points are in the world already.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from recon.errors import UserError
from recon.formats.lzf import LARGEST_RATIO, decompressed
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of
from recon.formats.text_rows import read_rows
from recon.formats.untrusted import failures_named, plain
from recon.inputs import PointCloud

LONGEST_HEADER = 1 << 14
SIZES = {"F": (4, 8), "I": (1, 2, 4, 8), "U": (1, 2, 4, 8)}
PACKED = ("rgb", "rgba")


@dataclass(frozen=True)
class _Header:
    """`row` is the type of a point in the file; text holds one number for each of its elements."""

    row: np.dtype
    points: int
    data: str


def read(path: Path, options: PointOptions) -> PointCloud:
    """The points of a PCD file.

    Raises:
        UserError: the header cannot be understood, promises more than the file holds, or there are no x, y and z.
    """
    with failures_named(path):
        content = path.read_bytes()
    header, body = _header(path, content)
    match header.data:
        case "ascii":
            columns = _text_columns(path, header, body)
        case "binary":
            columns = _binary_columns(path, header, body)
        case _:
            columns = _compressed_columns(path, header, body)
    for name in PACKED:
        if name in columns:
            columns |= _unpacked(columns.pop(name))
    return cloud_of(columns, path, unit=options.unit or "unknown")


def _header(path: Path, content: bytes) -> tuple[_Header, memoryview]:
    """The header, and what follows it."""
    said: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in said:
        end = content.find(b"\n", at, LONGEST_HEADER)
        if end < 0:
            raise UserError(f"{path}: is no PCD file: it does not begin with a PCD header that ends with DATA")
        words = content[at:end].decode("latin-1").split()
        if words and not words[0].startswith("#"):
            said[words[0].upper()] = words[1:]
        at = end + 1
    try:
        row, points, data = _row(said), int(said["POINTS"][0]), said["DATA"][0].lower()
    except (KeyError, IndexError, ValueError) as problem:
        raise UserError(f"{path}: its PCD header is damaged ({plain(problem)})") from problem
    if points < 0 or data not in ("ascii", "binary", "binary_compressed"):
        raise UserError(f"{path}: its PCD header is damaged ({points} points, DATA {plain(data, 40)})")
    return _Header(row, points, data), memoryview(content)[at:]


def _row(said: dict[str, list[str]]) -> np.dtype:
    """The type of a point."""
    names, sizes, kinds = said["FIELDS"], said["SIZE"], said["TYPE"]
    counts = said.get("COUNT", ["1"] * len(names))
    fields: list[tuple] = []
    for i, (name, size, kind, count) in enumerate(zip(names, map(int, sizes), kinds, map(int, counts), strict=True)):
        if size not in SIZES.get(kind, ()) or not 0 < count < LONGEST_HEADER:
            raise ValueError(f"field {name} has SIZE {size}, TYPE {kind}, COUNT {count}")
        unique = name if name != "_" and name not in names[:i] else f"{name} {i}"  # "_" is padding
        fields.append((unique, f"<{kind.lower()}{size}", (count,)) if count > 1 else (unique, f"<{kind.lower()}{size}"))
    return np.dtype(fields)


def _text_columns(path: Path, header: _Header, body: memoryview) -> dict[str, np.ndarray]:
    names = header.row.names or ()
    widths = [int(np.prod(header.row[name].shape)) for name in names]
    if header.points * 2 * sum(widths) > len(body) + 1:  # a digit and a blank each
        raise UserError(f"{path}: its header promises {header.points} points, {len(body)} bytes of text follow")
    rows = read_rows(io.TextIOWrapper(io.BytesIO(body), "latin-1"), path, count=header.points)
    if len(rows) != header.points or rows.shape[1] != sum(widths):
        raise UserError(
            f"{path}: its header promises {header.points} points of {sum(widths)} numbers; "
            f"{len(rows)} rows of {rows.shape[1]} follow"
        )
    columns: dict[str, np.ndarray] = {}
    for name, width, start in zip(names, widths, np.cumsum([0, *widths[:-1]]), strict=True):
        if width == 1:
            with np.errstate(invalid="ignore", over="ignore"):
                columns[name] = rows[:, start].astype(header.row[name])
    return columns


def _binary_columns(path: Path, header: _Header, body: memoryview) -> dict[str, np.ndarray]:
    _check_size(path, header, len(body))
    rows = np.frombuffer(body, header.row, header.points)
    return {name: rows[name] for name in header.row.names or () if rows[name].ndim == 1}


def _compressed_columns(path: Path, header: _Header, body: memoryview) -> dict[str, np.ndarray]:
    """LZF over all of the first column, then all of the second, and so on."""
    sizes = np.frombuffer(body[:8], "<u4")
    if len(sizes) < 2 or int(sizes[0]) > len(body) - 8:
        raise UserError(f"{path}: its compressed points are cut short")
    _check_size(path, header, int(sizes[1]))
    if int(sizes[1]) > LARGEST_RATIO * int(sizes[0]):
        raise UserError(f"{path}: {sizes[0]} compressed bytes cannot hold the {sizes[1]} that its header promises")
    raw = decompressed(np.frombuffer(body, np.uint8, int(sizes[0]), 8), int(sizes[1]))
    if raw is None:
        raise UserError(f"{path}: its compressed points are damaged")
    columns: dict[str, np.ndarray] = {}
    at = 0
    for name in header.row.names or ():
        column = np.frombuffer(raw, header.row[name], header.points, at)
        at += column.nbytes
        if column.ndim == 1:
            columns[name] = column
    return columns


def _check_size(path: Path, header: _Header, there: int) -> None:
    needed = header.points * header.row.itemsize
    if needed > there:
        raise UserError(
            f"{path}: its header promises {header.points} points of {header.row.itemsize} bytes, "
            f"{there} bytes are there; the file is damaged or cut short"
        )


def _unpacked(packed: Shaped[np.ndarray, "n"]) -> dict[str, UInt8[np.ndarray, "n"]]:
    """Red, green and blue of colours packed in four bytes, which text may also give as a float of the same bits."""
    bits = packed.astype("<f4").view("<u4") if packed.dtype.kind == "f" else packed.astype("<u4")
    return {name: (bits >> shift & 255).astype(np.uint8) for name, shift in (("r", 16), ("g", 8), ("b", 0))}
