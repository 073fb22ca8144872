"""LAS and LAZ (ASPRS, versions 1.0 to 1.4), read through laspy; LAZ is decompressed by lazrs.

Coordinates are whole numbers times a scale plus an offset, exact in float64. Colours have 16 bits by the
specification, 8 in files of many programs. The header is checked against the file before laspy sees it.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.errors import UserError
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of
from recon.formats.untrusted import failures_named, plain
from recon.inputs import PointCloud
from recon.limits import require_memory

if TYPE_CHECKING:
    import laspy

POINTS_A_PIECE = 1_000_000
BYTES_A_POINT = 100  # of all that is read of one, and of a piece as laspy holds it
POINTS_A_BYTE = 50  # more than LAZ packs into one, where all points are alike
SMALLEST_RECORD = 20
VLR_HEADER = 54
LINEAR_UNITS_KEY = 3076  # of GeoTIFF
GEOTIFF_UNITS = {9001: "metre", 9002: "foot", 9003: "US survey foot"}
OUR_UNITS = {"metre": "m", "meter": "m", "m": "m", "millimetre": "mm"}


def read(path: Path, options: PointOptions) -> PointCloud:
    """The points of a LAS or LAZ file with colours, intensity and classes.

    Raises:
        UserError: it is no LAS file, its header promises more than the file holds, or its points are damaged.
    """
    _check_header(path)
    with failures_named(path):
        try:
            columns, unit, notes = _read(path)
        except (KeyboardInterrupt, UserError, OSError, MemoryError):
            raise
        except BaseException as problem:  # laspy raises of all kinds; the decompressor's panics are no Exception
            raise UserError(f"{path}: its points cannot be read ({plain(problem)}); it is damaged") from problem
    return cloud_of(columns, path, unit=unit or options.unit or "unknown", notes=notes)


def _check_header(path: Path) -> None:
    """Refuses a header that promises more than the file can hold."""
    with failures_named(path), path.open("rb") as file:
        head = file.read(375).ljust(375, b"\0")
        size = file.seek(0, 2)
    if head[:4] != b"LASF":
        raise UserError(f"{path}: is no LAS file: it does not begin with LASF")
    header_size, start, records = struct.unpack_from("<HII", head, 94)
    kind, length, count = struct.unpack_from("<BHI", head, 104)
    if head[25] >= 4:
        first_extended, extended, count = struct.unpack_from("<QIQ", head, 235)
        if extended and first_extended + extended * 60 > size:
            raise UserError(f"{path}: its header promises {extended} extended records behind its end; it is cut short")
    if start > size or records * VLR_HEADER > max(start - header_size, 0):
        raise UserError(f"{path}: its header promises {records} records before the points at byte {start} of {size}")
    compressed = kind & 0xC0 != 0
    most = (size - start) * POINTS_A_BYTE if compressed else (size - start) // max(length, SMALLEST_RECORD)
    if count > most:
        raise UserError(f"{path}: its header promises {count} points, {size - start} bytes cannot hold them")
    require_memory(count * BYTES_A_POINT, f"{path} holds {count:,} points; cut it into tiles first")


def _read(path: Path) -> tuple[dict[str, np.ndarray], str, tuple[str, ...]]:
    """The columns of all points, the unit, and notes."""
    import laspy

    with (
        path.open("rb") as stream,
        laspy.LasReader(stream, laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False) as file,
    ):
        pieces = [_columns(piece) for piece in file.chunk_iterator(POINTS_A_PIECE)]
        unit, notes = _unit(file.header)
        promised = file.header.point_count
    if not pieces:
        raise UserError(f"{path}: holds no points")
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    if len(columns["x"]) != promised:
        raise UserError(f"{path}: its header promises {promised} points, it holds {len(columns['x'])}; it is cut short")
    return columns, unit, notes


def _columns(piece: laspy.ScaleAwarePointRecord) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {axis: np.asarray(piece[axis], np.float64) for axis in "xyz"}
    columns["intensity"] = np.asarray(piece["intensity"], np.float32)
    columns["class"] = np.asarray(piece["classification"], np.uint8)
    if "red" in (piece.array.dtype.names or ()):
        columns |= {name: np.asarray(piece[name]) for name in ("red", "green", "blue")}
    return columns


def _unit(header: laspy.LasHeader) -> tuple[str, tuple[str, ...]]:
    """The unit of the reference system in the header, "" where it is none of ours, and a note about another one."""
    said = None
    for record in header.vlrs:
        content = record.record_data_bytes()
        if record.record_id == 34735:  # GeoTIFF keys: quadruples of which the first is the key, the last its value
            keys = np.frombuffer(content[: len(content) // 8 * 8], "<u2").reshape(-1, 4)
            found = [GEOTIFF_UNITS.get(int(key[3])) for key in keys if key[0] == LINEAR_UNITS_KEY]
            said = found[0] if found else said
        elif record.record_id == 2112:  # well-known text
            text = content.decode("latin-1")
            units = re.findall(r'UNIT\["([^"]+)"', text)
            said = said or next((unit for unit in units if "degree" not in unit.lower()), units[-1] if units else None)
    if said is None or said.lower() in OUR_UNITS:
        return OUR_UNITS.get((said or "").lower(), ""), ()
    if "degree" in said.lower():
        return "", ("Its coordinates are longitude and latitude; project them to metres for a surface of true shape.",)
    return "", (f"Its coordinates are in the unit {plain(said, 40)}, and stay so.",)
