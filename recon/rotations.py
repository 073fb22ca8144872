"""Rotations: the matrices of quaternions, and the least turn from one direction to another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64


def rotation_matrices(quaternions: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 3 3"]:
    """Of quaternions w, x, y, z of any length but 0; their columns are the turned axes."""
    w, x, y, z = np.moveaxis(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def shortest_turn(
    start: Sequence[float] | Float[np.ndarray, "3"], end: Sequence[float] | Float[np.ndarray, "3"]
) -> Float64[np.ndarray, "3 3"]:
    """The rotation by the least angle that takes one direction to another; half a turn is one about x where it can be,
    as between the axes of cameras and those of graphics."""
    from scipy.spatial.transform import Rotation

    a, b = np.array(start, np.float64) / np.linalg.norm(start), np.array(end, np.float64) / np.linalg.norm(end)
    axis, angle = np.cross(a, b), np.arccos(np.clip(a @ b, -1, 1))
    if np.linalg.norm(axis) < 1e-12:
        level = np.eye(3)[0 if abs(a[0]) < 0.9 else 1]
        axis = level - (level @ a) * a
    return Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
