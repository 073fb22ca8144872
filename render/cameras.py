"""Cameras: where a picture is taken from, and which ray each of its pixels looks along.

OpenCV axes: x right, y down, z forward. A world point X has camera coordinates `world_to_camera @ (X, 1)`; the
intrinsics take camera coordinates to pixels, with pixel centres at +0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64

Vector = Sequence[float] | Float[np.ndarray, "3"]


@dataclass(frozen=True)
class Camera:
    """One view of the world onto `height` by `width` pixels.

    `intrinsics` is [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels: a perspective camera sees camera coordinates
    (x, y, z) at (fx x / z + cx, fy y / z + cy), an orthographic one at (fx x + cx, fy y + cy).
    """

    world_to_camera: Float64[np.ndarray, "4 4"]
    intrinsics: Float64[np.ndarray, "3 3"]
    width: int
    height: int
    orthographic: bool = False

    @property
    def position(self) -> Float64[np.ndarray, "3"]:
        """The world point that has camera coordinates 0."""
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return -rotation.T @ translation

    @property
    def forward(self) -> Float64[np.ndarray, "3"]:
        """The unit world direction that the camera looks along."""
        return self.world_to_camera[2, :3]

    def project(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n"]]:
        """Pixel positions and depths along `forward` of world points; behind a perspective camera the position is
        not a number."""
        x, y, z = (points @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]).T
        w = np.ones_like(z) if self.orthographic else np.where(z > 0, z, np.nan)
        u = self.intrinsics[0, 0] * x / w + self.intrinsics[0, 2]
        v = self.intrinsics[1, 1] * y / w + self.intrinsics[1, 2]
        return np.stack([u, v], -1), z

    def rays(self) -> tuple[Float64[np.ndarray, "_ 3"], Float32[np.ndarray, "n 3"]]:
        """World origins (one row that serves all where the camera is a perspective one) and directions of the rays
        through the pixel centres, row by row. A direction is one unit of depth long: a hit's ray parameter is its
        depth."""
        u = (np.arange(self.width) + 0.5 - self.intrinsics[0, 2]) / self.intrinsics[0, 0]
        v = (np.arange(self.height) + 0.5 - self.intrinsics[1, 2]) / self.intrinsics[1, 1]
        right, down, forward = self.world_to_camera[:3, :3]
        if self.orthographic:
            across = u[None, :, None] * right + (v[:, None] * down + self.position)[:, None]
            return across.reshape(-1, 3), np.broadcast_to(forward.astype(np.float32), (self.height * self.width, 3))
        rows, columns = (v[:, None] * down + forward).astype(np.float32), (u[:, None] * right).astype(np.float32)
        return self.position[None], (rows[:, None] + columns[None]).reshape(-1, 3)

    def resized(self, factor: float) -> Camera:
        """The same view on `factor` times as many pixels along each side."""
        intrinsics = np.diag([factor, factor, 1.0]) @ self.intrinsics
        width, height = round(self.width * factor), round(self.height * factor)
        return replace(self, intrinsics=intrinsics, width=width, height=height)


def look_at(position: Vector, target: Vector, up: Vector = (0, 0, 1)) -> Float64[np.ndarray, "4 4"]:
    """The world-to-camera matrix of a camera that looks at the target with `up` upward in the picture.

    Where the camera looks along `up` itself another upward direction is taken.
    """
    eye = np.asarray(position, np.float64)
    forward = _unit(np.asarray(target, np.float64) - eye)
    right = np.cross(forward, np.asarray(up, np.float64))
    if np.linalg.norm(right) < 1e-6 * np.linalg.norm(up):
        right = np.cross(forward, np.roll(up, 1))
    right = _unit(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    matrix[:3, 3] = -matrix[:3, :3] @ eye
    return matrix


def framing(
    points: Float[np.ndarray, "n 3"],
    direction: Vector,
    up: Vector = (0, 0, 1),
    size: tuple[int, int] = (800, 600),
    field_of_view: float = 30.0,
    margin: float = 0.06,
    orthographic: bool = False,
) -> Camera:
    """The closest camera, standing in `direction` from the points, that sees them all.

    `size` is (width, height) in pixels, `field_of_view` the degrees from top to bottom, `margin` the part of the
    picture left free along each side.
    """
    width, height = size
    turn = look_at(np.zeros(3), -np.asarray(direction, np.float64), up)[:3, :3]
    middle = (points.min(0) + points.max(0)) / 2
    x, y, z = ((points - middle) @ turn.T).T
    free = 1 - 2 * margin
    if orthographic:
        center = np.array([x.min() + x.max(), y.min() + y.max(), 0.0]) / 2
        focal = free * min(width / max(np.ptp(x), 1e-12), height / max(np.ptp(y), 1e-12))
        center[2] = z.min() - max(np.ptp(z), np.ptp(x), np.ptp(y))
    else:
        focal = height / 2 / np.tan(np.radians(field_of_view) / 2)
        center = _closest_stand(x, y, z, free * width / 2 / focal, free * height / 2 / focal)
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = -center - turn @ middle
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Camera(matrix, intrinsics, width, height, orthographic)


def four_sides(up: Vector = (0, 0, 1), elevation: float = 18.0, azimuth: float = 30.0) -> Float64[np.ndarray, "4 3"]:
    """Unit directions to stand in for a view of each side: a quarter turn about `up` apart, the first `azimuth` degrees
    beside -y (z where up is y), all `elevation` degrees above the horizon."""
    up = _unit(np.asarray(up, np.float64))
    front = np.array([0.0, -1.0, 0.0]) if abs(up[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    front = _unit(front - (front @ up) * up)
    right = np.cross(up, front)
    turns = np.radians(azimuth) + np.pi / 2 * np.arange(4)[:, None]
    level = np.cos(turns) * front + np.sin(turns) * right
    return np.cos(np.radians(elevation)) * level + np.sin(np.radians(elevation)) * up


def _closest_stand(
    x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"], z: Float[np.ndarray, "n"], tan_x: float, tan_y: float
) -> Float64[np.ndarray, "3"]:
    """The foremost camera centre c that keeps |x - c_x| <= tan_x (z - c_z) for all points, and likewise in y.

    The two sides of a direction ask for c_x - tan c_z >= max(x - tan z) =: a and -c_x - tan c_z >= max(-x - tan z)
    =: b; together c_z <= -(a + b) / (2 tan), and c_x = (a - b) / 2 leaves both sides the same room.
    """
    sides = []
    for t, s in ((x, tan_x), (y, tan_y)):
        a, b = (t - s * z).max(), (-t - s * z).max()
        sides.append(((a - b) / 2, -(a + b) / (2 * s)))
    nearest = min(sides[0][1], sides[1][1], z.min() - 1e-9)
    return np.array([sides[0][0], sides[1][0], nearest])


def _unit(vector: Float[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    return vector / np.linalg.norm(vector)
