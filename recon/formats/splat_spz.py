"""SPZ, Niantic's compact format: each attribute quantised, then compressed as a stream of its own.

    positions    24-bit fixed point, the number of fractional bits in the header (version 1: half floats)
    alphas       255 opacity
    colors       255 (0.15 DC + 1/2)
    scales       16 (log scale + 10)
    rotations    version 3 on: 32 bits: which of x, y, z, w is largest, then sign and 9 bits of magnitude of the others;
                 before: x, y, z as 127.5 (q + 1), w being positive
    harmonics    128 (value + 1), of which 5 bits are used for degree 1 and 4 bits above, colour fastest

All streams follow the header in one gzip stream up to version 3. Version 4 has its header plain, then a table of
compressed and plain sizes, then a Zstandard frame for each stream. Axes are x right, y up, z backward.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from recon.errors import UserError
from recon.files import replacing
from recon.formats.splat_codes import LOGITS, from_smallest_three, smallest_three, to_bytes
from recon.formats.splat_frames import AXES_TURN, Y_DOWN, Y_UP, check_memory, turned
from recon.formats.untrusted import GZIP_MAX_RATIO
from recon.gaussians.model import Gaussians
from recon.scene import Frame, Scene

MAGIC = 0x5053474E
GZIP_MAGIC = b"\x1f\x8b"
HEADER = struct.Struct("<IIIBBBB")
VERSIONS = (2, 3, 4)
ANTIALIASED = 1
HIGHEST_DEGREE_STORED = 4
POSITION_BITS = 24
LARGEST_FIXED = (1 << POSITION_BITS - 1) - 1
MOST_FRACTIONAL_BITS = 20
COLOR_SCALE = 0.15
LONGEST_EXTENSIONS = 1 << 16
"""What may follow the Gaussians in a gzip stream, to be passed over on the way to its check sum."""
ZSTD_LEVEL = 6
ZSTD_MAX_RATIO = 1 << 15
"""A block of a Zstandard frame that repeats one byte takes four bytes for at most 128 kB."""


class _Header(NamedTuple):
    """What the first bytes say, in this order."""

    magic: int
    version: int
    count: int
    degree: int
    fractional_bits: int
    flags: int
    streams: int

    def sizes(self) -> list[int]:
        """Bytes of the streams: positions, alphas, colors, scales, rotations, harmonics."""
        a_row = [6 if self.version == 1 else 9, 1, 3, 3, 4 if self.version > 2 else 3, 3 * ((self.degree + 1) ** 2 - 1)]
        return [self.count * size for size in a_row]


def read(path: Path) -> Scene:
    """The Gaussians of an SPZ file of version 1 to 4, turned to the axes of cameras (y down, z forward). Harmonics of
    degree 4 are cut to degree 3.

    Raises:
        UserError: it is no SPZ file, promises more than it holds, or a stream is damaged.
    """
    data = path.read_bytes()
    if data[:2] == GZIP_MAGIC:
        header, streams = _read_gzip(path, data)
    else:
        header, streams = _read_zstandard(path, data)
    positions, alphas, colors, scales, rotations, harmonics = streams
    rest = harmonics.reshape(header.count, -1, 3)[:, :15]
    sh = np.empty((header.count, 1 + rest.shape[1], 3), np.float32)
    sh[:, 0] = (colors.reshape(-1, 3) / np.float32(255) - 0.5) / np.float32(COLOR_SCALE)
    sh[:, 1:] = (np.arange(-128, 128, dtype=np.float32) / 128)[rest]
    gaussians = Gaussians(
        means=_means(positions, header),
        log_scales=scales.reshape(-1, 3) / np.float32(16) - 10,
        quaternions=_quaternions(rotations, header),
        opacity_logits=LOGITS[alphas],
        sh=sh,
        antialiased=bool(header.flags & ANTIALIASED),
    )
    notes = ("Harmonics of degree 4 are cut to degree 3.",) if header.degree == HIGHEST_DEGREE_STORED else ()
    return Scene(gaussians=gaussians.transformed(1.0, AXES_TURN, np.zeros(3)), frame=Frame(up=Y_DOWN), notes=notes)


def write(scene: Scene, path: Path, version: int = 3) -> None:
    """Writes the scene's Gaussians with the user's upward direction up, in the user's unit. Coordinates get as many
    fractional bits as leave room for the largest. Version 3 is what most programs read; 4 is a little smaller.

    Raises:
        UserError: the scene holds no Gaussians, or they reach farther than the format does.
    """
    gaussians = turned(scene, Y_UP)
    farthest = float(np.abs(gaussians.means).max())
    if farthest > LARGEST_FIXED:
        raise UserError(f"{path}: SPZ holds coordinates up to {LARGEST_FIXED}, these go to {farthest:.0f}; crop them")
    bits = min(int(np.log2(LARGEST_FIXED / max(farthest, 1))), MOST_FRACTIONAL_BITS)
    streams = [
        _fixed(gaussians.means, bits),
        to_bytes(255 * gaussians.opacities),
        to_bytes(255 * (COLOR_SCALE * gaussians.sh[:, 0] + 0.5)),
        to_bytes(16 * (gaussians.log_scales + 10)),
        _packed_rotations(gaussians.quaternions) if version > 2 else _packed_first_three(gaussians.rotations),
        _packed_harmonics(gaussians.sh[:, 1:]),
    ]
    flags = ANTIALIASED if gaussians.antialiased else 0
    header = _Header(MAGIC, version, len(gaussians), gaussians.sh_degree, bits, flags, 0)
    encoded = _zstandard if version == VERSIONS[-1] else _gzip
    with replacing(path) as partial:
        partial.write_bytes(encoded(header, [stream.tobytes() for stream in streams]))


def _checked(path: Path, header: _Header, available: int, ratio: int) -> _Header:
    """The header, if the file can hold what it promises."""
    if header.magic != MAGIC or not 1 <= header.version <= VERSIONS[-1] or header.degree > HIGHEST_DEGREE_STORED:
        raise UserError(f"{path}: is no SPZ file of version 1 to {VERSIONS[-1]} with harmonics of degree 0 to 4")
    if not header.count:
        raise UserError(f"{path}: holds no Gaussian")
    if header.fractional_bits > POSITION_BITS:
        raise UserError(
            f"{path}: its header says {header.fractional_bits} fractional bits; coordinates have {POSITION_BITS} in all"
        )
    promised = sum(header.sizes())
    if promised > available * ratio:
        raise UserError(
            f"{path}: its header promises {header.count} Gaussians of {promised} bytes, more than the {available} "
            "bytes in the file can expand to; the file is damaged or cut short"
        )
    check_memory(path, header.count, min(header.degree, 3))
    return header


def _read_gzip(path: Path, data: bytes) -> tuple[_Header, list[UInt8[np.ndarray, "_"]]]:
    """Header and streams of versions 1 to 3. No more is expanded than the header asks for."""
    expand = zlib.decompressobj(wbits=31)
    head = expand.decompress(data, HEADER.size)
    if len(head) < HEADER.size:
        raise UserError(f"{path}: is cut short in its header")
    header = _checked(path, _Header(*HEADER.unpack(head)), len(data), GZIP_MAX_RATIO)
    sizes = header.sizes()
    body = expand.decompress(expand.unconsumed_tail, sum(sizes)) if sum(sizes) else b""
    expand.decompress(expand.unconsumed_tail, LONGEST_EXTENSIONS)
    if len(body) < sum(sizes) or not (expand.eof or expand.unconsumed_tail):
        raise UserError(f"{path}: is cut short: {len(body)} of {sum(sizes)} bytes of Gaussians, or the end, are there")
    ends = np.cumsum(sizes)
    return header, [np.frombuffer(body, np.uint8, size, end - size) for size, end in zip(sizes, ends, strict=True)]


def _read_zstandard(path: Path, data: bytes) -> tuple[_Header, list[UInt8[np.ndarray, "_"]]]:
    """Header and streams of version 4. Streams without bytes are left out of the file."""
    if len(data) < 32:
        raise UserError(f"{path}: is no SPZ file: it has {len(data)} bytes, the header alone has 32")
    header = _checked(path, _Header(*HEADER.unpack_from(data)), len(data), ZSTD_MAX_RATIO)
    (table_at,) = struct.unpack_from("<I", data, HEADER.size)
    sizes = header.sizes()
    at = table_at + 16 * header.streams
    if header.version != VERSIONS[-1] or header.streams != sum(size > 0 for size in sizes) or at > len(data):
        raise UserError(f"{path}: its table of {header.streams} streams is not that of an SPZ file of version 4")
    table = np.frombuffer(data, "<u8", 2 * header.streams, table_at).reshape(-1, 2).tolist()
    streams, rows = [], iter(table)
    for size in sizes:
        compressed, plain = next(rows) if size else (0, 0)
        if plain != size or at + compressed > len(data):
            raise UserError(f"{path}: a stream of {plain} bytes stands where {size} should, or reaches beyond the end")
        streams.append(np.frombuffer(_expanded(path, data[at : at + compressed], size), np.uint8))
        at += compressed
    return header, streams


def _expanded(path: Path, frame: bytes, size: int) -> bytes:
    """A Zstandard frame's `size` bytes; no more is expanded than that, whatever the frame says."""
    import zstandard

    if not size:
        return b""
    try:
        with zstandard.ZstdDecompressor().stream_reader(frame) as reader:
            data = reader.read(size)
    except zstandard.ZstdError as problem:
        raise UserError(f"{path}: one of its Zstandard streams is damaged") from problem
    if len(data) != size:
        raise UserError(f"{path}: one of its streams has {len(data)} bytes where {size} should be")
    return data


def _gzip(header: _Header, streams: list[bytes]) -> bytes:
    """The file of versions 2 and 3. Quantised numbers hardly repeat in patterns: a search for any takes four to twelve
    times as long, and makes the file of a trained scene 2 % smaller."""
    compress = zlib.compressobj(wbits=31, strategy=zlib.Z_RLE)
    return b"".join([*(compress.compress(part) for part in (HEADER.pack(*header), *streams)), compress.flush()])


def _zstandard(header: _Header, streams: list[bytes]) -> bytes:
    import zstandard

    compress = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress
    there = [stream for stream in streams if stream]
    frames = [compress(stream) for stream in there]
    head = HEADER.pack(*header._replace(streams=len(there))) + struct.pack("<I12x", 32)
    table = b"".join(struct.pack("<QQ", len(f), len(stream)) for f, stream in zip(frames, there, strict=True))
    return b"".join([head, table, *frames])


def _means(positions: UInt8[np.ndarray, "_"], header: _Header) -> Float32[np.ndarray, "n 3"]:
    if header.version == 1:
        return positions.view("<f2").astype(np.float32).reshape(-1, 3)
    low, middle, high = positions.reshape(-1, 3).T
    fixed = high.astype(np.int8).astype(np.int32) << 16 | middle.astype(np.int32) << 8 | low
    return (fixed / np.float32(1 << header.fractional_bits)).astype(np.float32).reshape(-1, 3)


def _fixed(means: Float32[np.ndarray, "n 3"], bits: int) -> UInt8[np.ndarray, "n 9"]:
    fixed = np.rint(means.astype(np.float64) * (1 << bits)).astype("<i4")
    return np.ascontiguousarray(fixed[..., None].view(np.uint8)[..., :3]).reshape(len(means), 9)


def _quaternions(rotations: UInt8[np.ndarray, "_"], header: _Header) -> Float32[np.ndarray, "n 4"]:
    """w, x, y, z from the file's x, y, z, w."""
    if header.version > 2:
        packed = rotations.view("<u4")
        codes = np.stack([packed >> 20, packed >> 10, packed], axis=1) & 1023
        magnitude = (codes & 511) / np.float32(511 * np.sqrt(2))
        return np.roll(from_smallest_three(packed >> 30, np.where(codes & 512, -magnitude, magnitude)), 1, axis=1)
    xyz = rotations.reshape(-1, 3) / np.float32(127.5) - 1
    w = np.sqrt(np.maximum(0, 1 - np.square(xyz).sum(axis=1)))
    return np.column_stack([w, xyz])


def _packed_rotations(quaternions: Float32[np.ndarray, "n 4"]) -> UInt8[np.ndarray, "_"]:
    largest, others = smallest_three(np.roll(quaternions, -1, axis=1))
    magnitude = np.minimum(np.rint(np.abs(others) * (511 * np.sqrt(2))), 511).astype(np.uint32)
    a, b, c = (magnitude | (others < 0).astype(np.uint32) << 9).T
    return (largest.astype("<u4") << 30 | a << 20 | b << 10 | c).astype("<u4").view(np.uint8)


def _packed_first_three(rotations: Float32[np.ndarray, "n 4"]) -> UInt8[np.ndarray, "n 3"]:
    return to_bytes(127.5 * np.where(rotations[:, :1] < 0, -1, 1) * rotations[:, 1:] + 127.5)


def _packed_harmonics(rest: Float32[np.ndarray, "n m 3"]) -> UInt8[np.ndarray, "n m 3"]:
    """Bytes at the middles of steps of 8 for degree 1 and of 16 above."""
    step = np.where(np.arange(rest.shape[1]) < 3, 8, 16).astype(np.float32)[:, None]
    codes = rest * (128 / step)
    codes += 128 / step
    np.rint(codes, out=codes)
    codes *= step
    return np.clip(codes, 0, 255, out=codes).astype(np.uint8)
