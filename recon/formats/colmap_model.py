"""The files of a COLMAP model, binary or text: cameras, images, points3D.

Binary files are little endian and begin with a count (u64):

    cameras.bin   int32 id, int32 model, u64 width, u64 height, f64 parameters
    images.bin    int32 id, f64 quaternion w x y z, f64 translation x y z, int32 camera, name and a zero byte,
                  u64 count, count x (f64 x, f64 y, int64 point)
    points3D.bin  u64 id, f64 x y z, u8 r g b, f64 error, u64 count, count x (int32 image, int32 index)

Text files hold the same row by row; an image has two lines, of which the second, its key points, may be empty. Poses
are world to camera, OpenCV axes, pixel centres at +0.5. The rigs and frames of newer versions repeat what these say.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from numba import njit

from recon.distortion import Lens, pinhole
from recon.errors import UserError
from recon.formats.untrusted import are_coordinates, failures_named, plain
from recon.images import may_be_sides

MODELS = {  # by COLMAP's numbers: name and count of parameters
    **{0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4), 3: ("RADIAL", 5), 4: ("OPENCV", 8)},
    **{5: ("OPENCV_FISHEYE", 8), 6: ("FULL_OPENCV", 12), 7: ("FOV", 5), 8: ("SIMPLE_RADIAL_FISHEYE", 4)},
    **{9: ("RADIAL_FISHEYE", 5), 10: ("THIN_PRISM_FISHEYE", 12), 11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16)},
    **{12: ("SIMPLE_DIVISION", 4), 13: ("DIVISION", 5), 14: ("SIMPLE_FISHEYE", 3), 15: ("FISHEYE", 4)},
    **{16: ("EUCM", 6), 17: ("EQUIRECTANGULAR", 2)},
}
PARAMETERS = dict(MODELS.values())
LONGEST_NAME = 4096
POINT = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")])


class ColmapImage(NamedTuple):
    """A registered image: `quaternion` w, x, y, z and `translation` lead from the world to the camera."""

    name: str
    quaternion: tuple[float, float, float, float]
    translation: tuple[float, float, float]
    camera: int


class ColmapModel(NamedTuple):
    """A whole model."""

    lenses: dict[int, Lens]
    images: list[ColmapImage]
    points: Float64[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]


def read_model(folder: Path) -> ColmapModel:
    """The model in the folder; one without points3D has no points.

    Raises:
        UserError: a file is damaged, cut short or promises more than it holds, or a camera cannot be used.
    """
    binary = (folder / "cameras.bin").is_file()
    suffix = "bin" if binary else "txt"
    cameras, images, points = (folder / f"{name}.{suffix}" for name in ("cameras", "images", "points3D"))
    lenses = (_binary_cameras if binary else _text_cameras)(cameras)
    found = (_binary_images if binary else _text_images)(images)
    for image in found:
        if image.camera not in lenses:
            raise UserError(
                f"{images}: {plain(image.name, 60)} is of camera {image.camera}, which {cameras.name} lacks"
            )
        if not are_coordinates(np.array([*image.quaternion, *image.translation])) or not any(image.quaternion):
            raise UserError(f"{images}: the pose of {plain(image.name, 60)} is not a rotation and a translation")
    xyz, rgb = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    if points.is_file():
        xyz, rgb = (_binary_points if binary else _text_points)(points)
    return ColmapModel(lenses, found, xyz, rgb)


def lens_of(model: str, width: int, height: int, parameters: tuple[float, ...]) -> Lens | None:
    """The lens of a camera by COLMAP's name for its model; None for a panorama, which is no lens."""
    if model == "EQUIRECTANGULAR":
        return None
    one_focal = model.startswith("SIMPLE") or model in ("RADIAL", "RADIAL_FISHEYE")
    fx, fy = (parameters[0], parameters[0]) if one_focal else parameters[:2]
    cx, cy, *rest = parameters[1 if one_focal else 2 :]
    return replace(pinhole(width, height, fx, fy, cx, cy), **_bends(model, tuple(rest)))


def _bends(model: str, rest: tuple[float, ...]) -> dict[str, Any]:
    """The fields of a `Lens` that the parameters behind the principal point stand for."""
    fields: dict[str, Any] = {"projection": "equidistant" if "FISHEYE" in model else "perspective"}
    if model in ("OPENCV", "FULL_OPENCV"):
        k1, k2, p1, p2, k3, *divisor = (*rest, 0.0, 0.0, 0.0, 0.0)[:8]
        fields |= {"radial": (k1, k2, k3), "radial_divisor": tuple(divisor), "tangential": (p1, p2)}
    elif model == "THIN_PRISM_FISHEYE":
        k1, k2, p1, p2, k3, k4, sx, sy = rest
        fields |= {"radial": (k1, k2, k3, k4), "tangential": (p1, p2), "thin_prism": (sx, 0.0, sy, 0.0)}
    elif model == "RAD_TAN_THIN_PRISM_FISHEYE":  # whose p0, p1 are OpenCV's p2, p1
        k, (p0, p1), prism = rest[:6], rest[6:8], rest[8:]
        fields |= {"radial": k, "tangential": (p1, p0), "thin_prism": prism, "radial_first": True}
    elif model in ("FOV", "SIMPLE_DIVISION", "DIVISION", "EUCM"):
        fields |= {"projection": model.removeprefix("SIMPLE_").lower(), "shape": rest}
    else:
        fields |= {"radial": rest}
    return fields


def _checked_lens(file: Path, camera: int, model: str, width: int, height: int, parameters: tuple[float, ...]) -> Lens:
    """The lens of a camera that a file describes."""
    if not may_be_sides(width, height):
        raise UserError(f"{file}: camera {camera} has {width} x {height} pixels; both sides must be positive")
    lens = lens_of(model, width, height, parameters)
    if lens is None:
        raise UserError(f"{file}: camera {camera} takes panoramas; cut them to perspective images first")
    return lens


class _Bytes:
    """A binary file, read in order; what is read past its end is a sentence."""

    def __init__(self, file: Path, data: mmap.mmap):
        self.file, self.data, self.at = file, data, 0

    def take(self, layout: str) -> tuple:
        """The next numbers, little endian."""
        try:
            values = struct.unpack_from("<" + layout, self.data, self.at)
        except struct.error as problem:
            raise UserError(f"{self.file}: is cut short: it ends within an entry; write the model again") from problem
        self.at += struct.calcsize("<" + layout)
        return values

    def count(self, least: int) -> int:
        """The next count of entries of at least so many bytes, checked against what is left of the file."""
        (count,) = self.take("Q")
        left = len(self.data) - self.at
        if count * least > left:
            raise UserError(f"{self.file}: promises {count} entries of {least} or more bytes, {left} bytes are left")
        return count

    def name(self) -> str:
        """The next zero-terminated text."""
        end = self.data.find(b"\0", self.at, self.at + LONGEST_NAME)
        if end < 0:
            raise UserError(f"{self.file}: the name of an image does not end; the file is damaged")
        text = self.data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return text


@contextmanager
def _mapped(file: Path) -> Iterator[_Bytes]:
    with failures_named(file), file.open("rb") as opened:
        if not file.stat().st_size:
            raise UserError(f"{file}: the file is empty")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield _Bytes(file, data)


def _binary_cameras(file: Path) -> dict[int, Lens]:
    lenses = {}
    with _mapped(file) as data:
        for _ in range(data.count(24 + 8 * 2)):
            camera, number, width, height = data.take("iiQQ")
            if number not in MODELS:
                raise UserError(f"{file}: camera {camera} is of model {number}, which is not one of COLMAP's 0 to 17")
            model, count = MODELS[number]
            lenses[camera] = _checked_lens(file, camera, model, width, height, data.take(f"{count}d"))
    return lenses


def _binary_images(file: Path) -> list[ColmapImage]:
    images = []
    with _mapped(file) as data:
        for _ in range(data.count(64 + 1 + 8)):
            _, *pose, camera = data.take("i7di")
            images.append(ColmapImage(data.name(), tuple(pose[:4]), tuple(pose[4:]), camera))
            key_points = data.count(24)
            data.at += 24 * key_points
    return images


def _binary_points(file: Path) -> tuple[Float64[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"]]:
    with _mapped(file) as data:
        count = data.count(POINT.itemsize)
        content = np.frombuffer(data.data, np.uint8).copy()  # a map is not closed while an array looks into it
    rows = _without_tracks(content, count)
    if len(rows) < count:
        raise UserError(f"{file}: is cut short: the track of a point is longer than the file; write the model again")
    records = rows.reshape(-1).view(POINT)
    return records["xyz"].copy(), records["rgb"].copy()


@njit(cache=True)
def _without_tracks(content: UInt8[np.ndarray, "b"], count: int) -> UInt8[np.ndarray, "n 51"]:
    """The bytes of each point before its track; of fewer points where the file is too short for all."""
    rows = np.empty((count, 51), np.uint8)
    at = 8
    for index in range(count):
        if at + 51 > len(content):
            return rows[:index]
        rows[index] = content[at : at + 51]
        track = 0
        for byte in range(7, -1, -1):
            track = min(track * 256 + rows[index, 43 + byte], 1 << 48)
        at += 51 + 8 * track
        if at > len(content):
            return rows[:index]
    return rows


def _text_cameras(file: Path) -> dict[int, Lens]:
    lenses = {}
    for number, line in _lines(file):
        if not line:
            continue
        with _line_named(file, number):
            camera, model, width, height, *rest = line.split()
            sizes = int(camera), int(width), int(height)
            parameters = tuple(float(word) for word in rest)
        if len(parameters) != PARAMETERS.get(model):
            needed = f"has {PARAMETERS[model]} parameters" if model in PARAMETERS else "is none of COLMAP's models"
            raise UserError(f"{file}, line {number}: {plain(model, 40)} {needed}, {len(rest)} numbers follow it")
        lenses[sizes[0]] = _checked_lens(file, sizes[0], model, sizes[1], sizes[2], parameters)
    return lenses


def _text_images(file: Path) -> list[ColmapImage]:
    images = []
    lines = _lines(file)
    pending = next(lines, None)
    while pending is not None:
        number, line = pending
        pending = next(lines, None)
        if not line:
            continue
        with _line_named(file, number):
            _, w, x, y, z, tx, ty, tz, camera, name = line.split(None, 9)
            quaternion, translation = (float(w), float(x), float(y), float(z)), (float(tx), float(ty), float(tz))
            images.append(ColmapImage(name, quaternion, translation, int(camera)))
        if pending is not None and len(pending[1].split()) % 3 == 0:  # key points, three numbers each
            pending = next(lines, None)
    return images


def _text_points(file: Path) -> tuple[Float64[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"]]:
    rows = [(number, line.split(None, 8)[1:7]) for number, line in _lines(file) if line]
    for number, row in rows:
        if len(row) < 6:
            raise UserError(
                f"{file}, line {number}: a point has an id, x, y, z, r, g, b and more; {len(row)} are there"
            )
    try:
        values = np.array([row for _, row in rows], np.float64).reshape(-1, 6)
    except ValueError as problem:
        raise UserError(f"{file}: a coordinate or colour of a point is no number ({plain(problem, 60)})") from problem
    return values[:, :3], values[:, 3:].clip(0, 255).astype(np.uint8)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines without comments, with their numbers; empty ones too."""
    with failures_named(file), file.open(encoding="utf-8", errors="replace") as opened:
        for number, line in enumerate(opened, start=1):
            if not line.startswith("#"):
                yield number, line.strip()


@contextmanager
def _line_named(file: Path, number: int) -> Iterator[None]:
    """Turns what goes wrong with the words of a line into a sentence."""
    try:
        yield
    except ValueError as problem:
        raise UserError(f"{file}, line {number}: is no row of a COLMAP model ({plain(problem, 80)})") from problem
