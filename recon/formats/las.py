"""LAS and LAZ (ASPRS, versions 1.0 to 1.4, point formats 0 to 10).

    header    signature LASF, where the points begin, how many, of which format, scale and offset of coordinates
    records   of variable length: the reference system, and in LAZ how the points are compressed
    points    X, Y, Z as int32, intensity as uint16, ..., class, ..., red, green, blue as uint16

Coordinates are the whole numbers times a scale plus an offset, exact in float64. Colours have 16 bits by the
specification, 8 in files of many programs. LAZ is decompressed by lazrs in a process of its own.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.formats import laz_process
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of
from recon.formats.untrusted import failures_named, plain
from recon.inputs import PointCloud
from recon.limits import require_memory

RECORDS_A_PIECE = 1_000_000
BYTES_A_POINT = 100  # of all that is read of one, and of the piece that it is in
POINTS_A_BYTE = 200  # more than LAZ packs into one, even where all points are alike
SIZES = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)  # of a point in the formats 0 to 10; more may follow it
COLOR_AT = {2: 20, 3: 28, 5: 28, 7: 30, 8: 30, 10: 30}
GEOTIFF, WELL_KNOWN_TEXT, LASZIP = 34735, 2112, 22204  # ids of records
LINEAR_UNITS_KEY = 3076  # of GeoTIFF
GEOTIFF_UNITS = {9001: "metre", 9002: "foot", 9003: "US survey foot"}
OUR_UNITS = {"metre": "m", "meter": "m", "m": "m", "millimetre": "mm"}


@dataclass(frozen=True)
class _Header:
    """`start` is where the points begin, `size` the bytes of one; `records` are those of variable length, by id."""

    start: int
    count: int
    kind: int
    size: int
    compressed: bool
    scale: Float64[np.ndarray, "3"]
    offset: Float64[np.ndarray, "3"]
    records: dict[int, bytes]

    @property
    def row(self) -> np.dtype:
        """The type of a point, of what is read of it."""
        fields = {"X": ("<i4", 0), "Y": ("<i4", 4), "Z": ("<i4", 8), "intensity": ("<u2", 12)}
        fields |= {"flags": ("u1", 15), "class": ("u1", 15 if self.kind < 6 else 16)}
        if self.kind in COLOR_AT:
            fields |= {name: ("<u2", COLOR_AT[self.kind] + 2 * i) for i, name in enumerate(("red", "green", "blue"))}
        formats, offsets = zip(*fields.values(), strict=True)
        return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": self.size})


def read(path: Path, options: PointOptions) -> PointCloud:
    """The points of a LAS or LAZ file with colours, intensity and classes.

    Raises:
        UserError: it is no LAS file, its header promises more than the file holds, or its points are damaged.
    """
    with failures_named(path):
        header = _header(path)
        require_memory(header.count * BYTES_A_POINT, f"{path} holds {header.count:,} points; cut it into tiles first")
        with _points(path, header) as stream:
            pieces = [_columns(header, piece) for piece in _pieces(path, header, stream)]
    if not pieces:
        raise UserError(f"{path}: holds no points")
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    unit, notes = _unit(header.records)
    withheld = columns.pop("withheld")
    if withheld.any() and not withheld.all():
        columns = {name: values[~withheld] for name, values in columns.items()}
        notes += (f"{np.count_nonzero(withheld):,} points that the file marks as withheld are left out.",)
    return cloud_of(columns, path, unit=unit or options.unit or "unknown", notes=notes)


def _header(path: Path) -> _Header:
    """The header and the records of variable length, checked against the file."""
    with path.open("rb") as file:
        head = file.read(375).ljust(375, b"\0")
        length = file.seek(0, 2)
        if head[:4] != b"LASF":
            raise UserError(f"{path}: is no LAS file: it does not begin with LASF")
        header_size, start, records = struct.unpack_from("<HII", head, 94)
        kind, size, count = struct.unpack_from("<BHI", head, 104)
        if head[25] >= 4:
            count = struct.unpack_from("<Q", head, 247)[0] or count
        compressed, kind = kind & 0xC0 != 0, kind & 0x3F
        if kind >= len(SIZES) or size < SIZES[kind]:
            raise UserError(
                f"{path}: its points have format {kind} and {size} bytes; formats 0 to {len(SIZES) - 1} are known"
            )
        if start > length or records * 54 > start - header_size:
            raise UserError(
                f"{path}: its header promises {records} records before the points at byte {start} of {length}"
            )
        if count > ((length - start) * POINTS_A_BYTE if compressed else (length - start) // size):
            raise UserError(f"{path}: its header promises {count} points, {length - start} bytes cannot hold them")
        file.seek(header_size)
        known = _records(file.read(start - header_size), records)
    if compressed and LASZIP not in known:
        raise UserError(f"{path}: does not say how its points are compressed; it is damaged")
    scale, offset = np.frombuffer(head, "<f8", 6, 131).reshape(2, 3)
    return _Header(start, count, kind, size, compressed, scale, offset, known)


def _records(content: bytes, count: int) -> dict[int, bytes]:
    """The records of variable length by their ids; the first of several."""
    found: dict[int, bytes] = {}
    at = 0
    for _ in range(count):
        if at + 54 > len(content):
            break
        number, length = struct.unpack_from("<HH", content, at + 18)
        found.setdefault(number, content[at + 54 : at + 54 + length])
        at += 54 + length
    return found


@contextmanager
def _points(path: Path, header: _Header) -> Iterator[IO[bytes]]:
    """A stream of the points as LAS has them."""
    if not header.compressed:
        with path.open("rb") as file:
            file.seek(header.start)
            yield file
        return
    said = map(str, (header.start, header.count, header.size))
    command = [sys.executable, "-P", laz_process.__file__, str(path), *said, header.records[LASZIP].hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()


def _pieces(path: Path, header: _Header, stream: IO[bytes]) -> Iterator[np.ndarray]:
    """The points, a million at a time."""
    for first in range(0, header.count, RECORDS_A_PIECE):
        count = min(RECORDS_A_PIECE, header.count - first)
        content = stream.read(count * header.size)
        if len(content) < count * header.size:
            there = first + len(content) // header.size
            raise UserError(f"{path}: its header promises {header.count} points, {there} can be read; it is damaged")
        yield np.frombuffer(content, header.row)


def _columns(header: _Header, rows: np.ndarray) -> dict[str, np.ndarray]:
    columns = {axis: rows[axis.upper()] * header.scale[i] + header.offset[i] for i, axis in enumerate("xyz")}
    columns["intensity"] = rows["intensity"].astype(np.float32)
    columns["class"] = rows["class"] & 31 if header.kind < 6 else rows["class"].copy()
    columns["withheld"] = rows["flags"] & (128 if header.kind < 6 else 4) != 0
    return columns | {name: rows[name].copy() for name in ("red", "green", "blue") if header.kind in COLOR_AT}


def _unit(records: dict[int, bytes]) -> tuple[str, tuple[str, ...]]:
    """The unit of the reference system, "" where it is none of ours, and a note about another one."""
    said = ""
    keys = np.frombuffer(records.get(GEOTIFF, b"")[: len(records.get(GEOTIFF, b"")) // 8 * 8], "<u2").reshape(-1, 4)
    for key, _, _, value in keys.tolist():
        if key == LINEAR_UNITS_KEY:
            said = GEOTIFF_UNITS.get(value, "")
    if not said:
        units = re.findall(r'UNIT\["([^"]+)"', records.get(WELL_KNOWN_TEXT, b"").decode("latin-1"))
        said = next((unit for unit in units if "degree" not in unit.lower()), units[-1] if units else "")
    if not said or said.lower() in OUR_UNITS:
        return OUR_UNITS.get(said.lower(), ""), ()
    if "degree" in said.lower():
        return "", ("Its coordinates are longitude and latitude; project them to metres for a surface of true shape.",)
    return "", (f"Its coordinates are in the unit {plain(said, 40)}, and stay so.",)
