"""Compressed PLY, PlayCanvas' format: 16 bytes a Gaussian, and one more for each number of the harmonics.

Gaussians stand in chunks of 256 that are near each other. Element `chunk` has the least and greatest place, log scale
and colour of each; element `vertex` has four 32-bit numbers, from the highest bit down

    packed_position, packed_scale    11, 10, 11 bits: where between least and greatest x, y, z are
    packed_rotation                  2, 10, 10, 10 bits: which of w, x, y, z is largest, and the other three
    packed_color                     8, 8, 8, 8 bits: r, g, b between least and greatest (older files: 0 and 1), opacity

and element `sh` bytes f_rest_0, ... for (value / 8 + 1/2) * 256, ordered as in a plain PLY file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8, UInt32

from recon.errors import UserError
from recon.files import replacing
from recon.formats.ply_elements import PlyFile, read_ply
from recon.formats.splat_codes import LOGITS, SQRT2, from_smallest_three, smallest_three, to_bytes
from recon.formats.splat_frames import placed
from recon.formats.splat_ply import frame_said, header_start, said_antialiased
from recon.gaussians.harmonics import DC
from recon.gaussians.model import Gaussians
from recon.morton import morton_order
from recon.scene import Frame, Scene

CHUNK = 256
PLACES = (11, 10, 11)
COLORS = (8, 8, 8)
BOUNDED = {"place": ("x", "y", "z"), "scale": ("scale_x", "scale_y", "scale_z"), "color": ("r", "g", "b")}
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")


def read(path: Path) -> Scene:
    """The Gaussians of a compressed PLY file.

    Raises:
        UserError: it is no PLY file, is shorter than its header says, or lacks an element or a column.
    """
    file = read_ply(path)
    packed = [_column(file, path, "vertex", name).astype(np.uint32) for name in PACKED]
    places, rotations, scales, colors = packed
    chunks = len(_column(file, path, "chunk", "min_x"))
    if chunks != -(-len(places) // CHUNK):
        raise UserError(f"{path}: has {chunks} chunks for {len(places)} Gaussians; one for each {CHUNK} is right")
    color = _fractions(colors >> 8, COLORS)
    if "min_r" in file.tables["chunk"]:
        color = _between(file, path, "color", color)
    others = (_fractions(rotations, (10, 10, 10)) - 0.5) * SQRT2
    gaussians = Gaussians(
        means=_between(file, path, "place", _fractions(places, PLACES)),
        log_scales=_between(file, path, "scale", _fractions(scales, PLACES)),
        quaternions=from_smallest_three(rotations >> 30, others),
        opacity_logits=LOGITS[colors & 255],
        sh=np.concatenate([(color[:, None] - 0.5) / np.float32(DC), _harmonics(file, path, len(places))], axis=1),
        antialiased=said_antialiased(file.comments),
    )
    return Scene(gaussians=gaussians, frame=frame_said(file.comments))


def write(scene: Scene, path: Path) -> None:
    """Writes the scene's Gaussians in the user's coordinates.

    Raises:
        UserError: the scene holds no Gaussians.
    """
    gaussians, offset = placed(scene)
    gaussians = gaussians.subset(morton_order(gaussians.means))
    places = (gaussians.means + offset).astype(np.float32)
    bounds, packed = [], {}
    for name, values, bits in (
        ("position", places, PLACES),
        ("scale", gaussians.log_scales, PLACES),
        ("color", 0.5 + np.float32(DC) * gaussians.sh[:, 0], COLORS),
    ):
        low, high = _bounds(values)
        bounds += [low, high]
        span = np.where(high > low, high - low, 1)
        chunk = np.arange(len(values)) // CHUNK
        packed[name] = _packed((values - low[chunk]) / span[chunk], bits)
    largest, others = smallest_three(gaussians.quaternions)
    rotation = largest.astype(np.uint32) << 30 | _packed(others / SQRT2 + 0.5, (10, 10, 10))
    color = packed["color"] << 8 | to_bytes(255 * gaussians.opacities)
    vertices = np.stack([packed["position"], rotation, packed["scale"], color], axis=1)
    rest = to_bytes(np.floor(32 * gaussians.sh[:, 1:].transpose(0, 2, 1).reshape(len(gaussians), -1) + 128))
    chunks = np.concatenate(bounds, axis=1)
    header = _header(scene.frame, len(chunks), rest, gaussians.antialiased)
    with replacing(path) as partial, partial.open("wb") as stream:
        stream.write(header)
        stream.write(chunks.astype("<f4").tobytes() + vertices.astype("<u4").tobytes() + rest.tobytes())


def _header(frame: Frame, chunks: int, rest: UInt8[np.ndarray, "n m"], antialiased: bool) -> bytes:
    lines = header_start(frame, antialiased)
    lines.append(f"element chunk {chunks}")
    lines += [f"property float {end}_{name}" for names in BOUNDED.values() for end in ("min", "max") for name in names]
    lines.append(f"element vertex {len(rest)}")
    lines += [f"property uint {name}" for name in PACKED]
    if rest.shape[1]:
        lines.append(f"element sh {len(rest)}")
        lines += [f"property uchar f_rest_{i}" for i in range(rest.shape[1])]
    return "\n".join([*lines, "end_header", ""]).encode("ascii")


def _column(file: PlyFile, path: Path, element: str, name: str) -> np.ndarray:
    column = file.tables.get(element, {}).get(name)
    if not isinstance(column, np.ndarray):
        raise UserError(f"{path}: its element {element} has no {name}, which compressed PLY files have")
    return column


def _fractions(packed: UInt32[np.ndarray, "n"], bits: tuple[int, int, int]) -> Float32[np.ndarray, "n 3"]:
    """Three numbers of so many bits each, the last one lowest, from 0 to 1."""
    a, b, c = bits
    parts = packed >> (b + c), packed >> c, packed
    most = [(1 << n) - 1 for n in bits]
    return np.stack([(part & m).astype(np.float32) / m for part, m in zip(parts, most, strict=True)], axis=1)


def _packed(fractions: Float32[np.ndarray, "n 3"], bits: tuple[int, int, int]) -> UInt32[np.ndarray, "n"]:
    """The reverse of `_fractions`, to the nearest."""
    packed = np.zeros(len(fractions), np.uint32)
    for axis, n in enumerate(bits):
        most = (1 << n) - 1
        packed = packed << n | np.clip(np.rint(fractions[:, axis] * most), 0, most).astype(np.uint32)
    return packed


def _between(file: PlyFile, path: Path, kind: str, fractions: Float32[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """The values that lie at these fractions between the least and greatest of their chunk."""
    chunk = np.arange(len(fractions)) // CHUNK
    low, high = (
        np.stack([_column(file, path, "chunk", f"{end}_{name}") for name in BOUNDED[kind]], axis=1).astype(np.float32)
        for end in ("min", "max")
    )
    return low[chunk] * (1 - fractions) + high[chunk] * fractions


def _bounds(values: Float32[np.ndarray, "n 3"]) -> tuple[Float32[np.ndarray, "c 3"], Float32[np.ndarray, "c 3"]]:
    """Least and greatest of each chunk."""
    starts = np.arange(0, len(values), CHUNK)
    return np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)


def _harmonics(file: PlyFile, path: Path, count: int) -> Float32[np.ndarray, "n k 3"]:
    """The harmonics above DC. A byte stands for the middle of its step, except that 0 and 255 are -4 and 4."""
    table = file.tables.get("sh", {})
    if not table:
        return np.zeros((count, 0, 3), np.float32)
    k = len(table) // 3
    columns = [_column(file, path, "sh", f"f_rest_{i}") for i in range(3 * k)]
    if len(table) not in (9, 24, 45) or len(columns[0]) != count:
        raise UserError(f"{path}: its element sh is not 9, 24 or 45 columns of {count} rows")
    values = ((np.arange(256) + 0.5) / 256 - 0.5) * 8
    values[[0, 255]] = -4, 4
    sh = np.empty((count, k, 3), np.float32)
    for i, column in enumerate(columns):
        sh[:, i % k, i // k] = values.astype(np.float32)[column.astype(np.uint8)]
    return sh
