"""Poses of cameras as files give them: matrices, projection matrices; and which way is up."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.formats.untrusted import are_coordinates

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes of OpenGL (x right, y up, z backward) in OpenCV's, and back
FLAT = 0.1  # of the depth: what is flatter, seen from one side only, is ground seen from above
FEWEST_POINTS = 20


def rigid(matrix: Float64[np.ndarray, "_ 4"], where: str) -> Float64[np.ndarray, "4 4"]:
    """A pose as a rotation and a translation, its rounding removed; a uniform scale of the rotation is divided out.

    Raises:
        UserError: it is neither; `where` begins the sentence.
    """
    matrix = np.asarray(matrix, np.float64)
    if matrix.shape not in ((3, 4), (4, 4)) or not are_coordinates(matrix):
        raise UserError(f"{where} is not a matrix of 3 or 4 rows of 4 numbers")
    left, sizes, right = np.linalg.svd(matrix[:3, :3])
    if np.linalg.det(left @ right) < 0 or sizes[2] < 0.99 * sizes[0] or sizes[2] <= 0:
        raise UserError(f"{where} is no rotation with a translation")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = left @ right, matrix[:3, 3]
    return pose


def inverse(pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """The inverse of a rotation with a translation."""
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = pose[:3, :3].T, -pose[:3, :3].T @ pose[:3, 3]
    return result


def decomposed(
    matrix: Float64[np.ndarray, "3 4"], where: str
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "4 4"]]:
    """Intrinsics with a positive diagonal, and world-to-camera pose, of a projection matrix ~ intrinsics @ [R | t].

    Raises:
        UserError: the matrix is no camera's; `where` begins the sentence.
    """
    from scipy.linalg import rq

    if not are_coordinates(matrix) or np.linalg.matrix_rank(matrix[:, :3]) < 3:
        raise UserError(f"{where} is not the projection matrix of a camera")
    matrix = matrix * np.sign(np.linalg.det(matrix[:, :3]))  # known up to a factor; R turns and does not mirror
    upper, rotation = rq(matrix[:, :3])
    signs = np.diag(np.sign(np.diag(upper)))
    upper, rotation = upper @ signs, signs @ rotation
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, np.linalg.solve(upper, matrix[:, 3])
    intrinsics = upper / upper[2, 2]
    if abs(intrinsics[0, 1]) < 1e-4 * intrinsics[0, 0]:
        intrinsics[0, 1] = 0.0  # skew of less than a pixel from top to bottom, mostly rounding
    return intrinsics, pose


def upward(
    world_to_cameras: Float64[np.ndarray, "n 4 4"], points: Float64[np.ndarray, "m 3"] | None = None
) -> tuple[float, float, float]:
    """The direction that the cameras hold upward.

    People and drones hold cameras level: the axes x of the cameras lie in the horizontal plane. Where they span one, up
    is its normal. Where they do not (all cameras look the same way), it is the mean of the cameras' own upward axes;
    or, where the points before them are all at one depth, as the ground is under a drone, against the way they look.
    Of two signs the one is taken that the cameras' own upward axes speak for, or, where these are level, that looks
    down.
    """
    down, forward = (world_to_cameras[:, axis, :3].mean(0) for axis in (1, 2))
    sideways = world_to_cameras[:, 0, :3]
    sizes, axes = np.linalg.eigh(sideways.T @ sideways / len(sideways))
    if sizes[1] > 0.02 and sizes[0] < 0.2 * sizes[1]:
        normal = axes[:, 0]
    elif points is not None and _are_flat_before(world_to_cameras, points):
        normal = -forward
    else:
        normal = -down if np.linalg.norm(down) > 1e-6 else axes[:, 0]
    votes = float(normal @ -down)
    if abs(votes) < 0.3 * np.linalg.norm(normal):
        votes = float(normal @ -forward)
    x, y, z = normal / np.linalg.norm(normal) * (1.0 if votes >= 0 else -1.0)
    return float(x), float(y), float(z)


def _are_flat_before(world_to_cameras: Float64[np.ndarray, "n 4 4"], points: Float64[np.ndarray, "m 3"]) -> bool:
    """Whether, in the median camera, the depths of the points within 45 degrees of the axis differ by less than `FLAT`
    of their median, the nearest and farthest tenth left out."""
    spreads = []
    for pose in world_to_cameras:
        x, y, z = (points @ pose[:3, :3].T + pose[:3, 3]).T
        depth = z[(np.abs(x) < z) & (np.abs(y) < z)]
        if len(depth) >= FEWEST_POINTS:
            low, middle, high = np.percentile(depth, [10, 50, 90])
            spreads.append((high - low) / middle)
    return bool(spreads) and float(np.median(spreads)) < FLAT
