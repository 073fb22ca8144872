"""A folder of RGB-D frames, fused into points: each depth pixel is put into the world by its camera.

    color/*.jpg|png  depth/*.png  trajectory.log  *.json     as Open3D's reconstruction example has them

Depth is 16 bits, millimetres along the optical axis, 0 for none. The trajectory holds for each frame a line of three
numbers and a 4 x 4 camera-to-world matrix, OpenCV axes. The JSON file holds `intrinsic_matrix`, column by column, for
pixel centres at whole numbers: pixel (u, v) of depth d stands at d ((u - cx) / fx, (v - cy) / fy, 1) in its camera.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped, UInt8

from recon.errors import UserError
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of
from recon.formats.untrusted import failures_named, plain, read_whole
from recon.inputs import PointCloud
from recon.limits import require_memory

METRES_A_STEP = 1e-3
EDGE = 0.03  # of the depth: neighbours that differ by more do not lie on one surface, the pixel between may hang in air
LARGEST_PICTURE = 50_000_000  # pixels
BYTES_A_PIXEL = 60
IMAGES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")


class _Camera(msgspec.Struct):
    """The file of intrinsics."""

    width: int
    height: int
    intrinsic_matrix: list[float]


def read(path: Path, options: PointOptions) -> PointCloud:
    """The points of all frames, in metres, coloured.

    Raises:
        UserError: intrinsics, poses or pictures are missing, damaged or do not fit each other.
    """
    with failures_named(path):
        intrinsics = _intrinsics(path)
        poses = _poses(path / "trajectory.log")
        depths, colors = _pictures(path / "depth"), _pictures(path / "color")
        if not len(depths) == len(colors) == len(poses):
            raise UserError(
                f"{path}: {len(depths)} depth pictures, {len(colors)} colour pictures and {len(poses)} poses do not fit"
            )
        pixels = _pixels(depths[0]).size
        require_memory(len(depths) * pixels * BYTES_A_PIXEL, f"{path} holds {len(depths)} frames; give fewer of them")
        frames = [
            _frame(depth, color, intrinsics, pose) for depth, color, pose in zip(depths, colors, poses, strict=True)
        ]
    points, colors = (np.concatenate(parts) for parts in zip(*((frame[0], frame[1]) for frame in frames), strict=True))
    if not len(points):
        raise UserError(f"{path}: its depth pictures hold no depth")
    edges = sum(edge for _, _, edge in frames)
    note = f"{len(frames)} frames are fused; {edges:,} pixels at jumps in depth are left out."
    columns = dict(zip("xyzrgb", [*points.T, *colors.T], strict=True))
    return cloud_of(columns, path, unit="m", up=_up(poses), notes=(note,))


def _intrinsics(folder: Path) -> Float64[np.ndarray, "3 3"]:
    """The 3 x 3 matrix in the folder's one JSON file."""
    files = sorted(folder.glob("*.json"))
    if len(files) != 1:
        raise UserError(f"{folder}: needs one JSON file with the camera's intrinsic_matrix, it has {len(files)}")
    try:
        camera = msgspec.json.decode(read_whole(files[0]), type=_Camera)
        matrix = np.array(camera.intrinsic_matrix, np.float64).reshape(3, 3).T
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as problem:
        raise UserError(f"{files[0]}: holds no camera's intrinsic_matrix ({plain(problem)})") from problem
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise UserError(f"{files[0]}: the focal lengths in its intrinsic_matrix are not positive")
    return matrix


def _poses(path: Path) -> Float64[np.ndarray, "n 4 4"]:
    """The camera-to-world matrices of a trajectory: five lines a frame, of which the first numbers it."""
    lines = [line.split() for line in read_whole(path).decode("latin-1").splitlines() if line.strip()]
    try:
        rows = [line for i, line in enumerate(lines) if i % 5]
        poses = np.array(rows, np.float64).reshape(-1, 4, 4)
    except ValueError as problem:
        raise UserError(f"{path}: is no trajectory of 4 x 4 matrices with a line of numbers before each") from problem
    turns = poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1)
    if not len(poses) or not np.isfinite(poses).all() or np.abs(turns - np.eye(3)).max() > 1e-3:
        raise UserError(f"{path}: a matrix in it is no rotation and translation")
    return poses


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGES)


def _frame(
    depth_file: Path, color_file: Path, intrinsics: Float64[np.ndarray, "3 3"], pose: Float64[np.ndarray, "4 4"]
) -> tuple[Float64[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"], int]:
    """A frame's points in the world, their colours, and how many pixels were left out at jumps in depth."""
    depth = _pixels(depth_file).astype(np.float32) * np.float32(METRES_A_STEP)
    color = _pixels(color_file, "RGB")
    if depth.ndim != 2:
        raise UserError(f"{depth_file}: is no picture of one channel of depth")
    measured, edge = depth > 0, _at_jumps(depth)
    v, u = np.nonzero(measured & ~edge)
    d = depth[v, u].astype(np.float64)
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0] * d
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1] * d
    points = np.stack([x, y, d], axis=1) @ pose[:3, :3].T + pose[:3, 3]
    rows, columns = v * color.shape[0] // depth.shape[0], u * color.shape[1] // depth.shape[1]
    return points, color[rows, columns], int(np.count_nonzero(measured & edge))


def _at_jumps(depth: Float32[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels beside which, to the left, right, above or below, a depth differs by more than `EDGE` of their own."""
    jumps = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        here, there = (depth[:-1], depth[1:]) if axis == 0 else (depth[:, :-1], depth[:, 1:])
        steep = (np.abs(there - here) > EDGE * np.minimum(here, there)) & (here > 0) & (there > 0)
        first, second = (jumps[:-1], jumps[1:]) if axis == 0 else (jumps[:, :-1], jumps[:, 1:])
        first |= steep
        second |= steep
    return jumps


def _pixels(path: Path, mode: str | None = None) -> Shaped[np.ndarray, "h w ..."]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > LARGEST_PICTURE:
                raise UserError(f"{path}: {image.width} x {image.height} pixels are more than a depth camera takes")
            return np.asarray(image if mode is None else image.convert(mode))
    except (UnidentifiedImageError, SyntaxError, ValueError, OSError) as problem:
        raise UserError(f"{path}: is no sound picture ({plain(problem)})") from problem


def _up(poses: Float64[np.ndarray, "n 4 4"]) -> tuple[float, float, float]:
    """The axis of the world, with its sign, that is nearest to the cameras' mean upward direction (their -y)."""
    upward = -poses[:, :3, 1].mean(0)
    axis = int(np.abs(upward).argmax())
    x, y, z = np.eye(3)[axis] * np.sign(upward[axis])
    return float(x), float(y), float(z)
