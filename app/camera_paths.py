"""Paths for a camera: around what there is to see, or along where photos were taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from render.cameras import Camera, look_at

ELEVATION = 18.0  # degrees above the horizon, where no photo says it
FIELD_OF_VIEW = 40.0  # degrees from top to bottom, likewise


def orbit(
    corners: Float[np.ndarray, "n 3"],
    up: tuple[float, float, float],
    photos: Sequence[Camera],
    frames: int,
    size: tuple[int, int],
) -> list[Camera]:
    """Once around the middle of the corners, looking at it: as far away and as high as the photos were taken, or where
    there are none, so that all corners are seen."""
    middle = (corners.min(0) + corners.max(0)) / 2
    upward = np.array(up) / np.linalg.norm(up)
    right = _level(upward)
    front = np.cross(upward, right)
    turns = 2 * np.pi * np.arange(frames) / frames
    if photos:
        stands = np.array([camera.position for camera in photos]) - middle
        height = float(np.median(stands @ upward))
        radius = float(np.median(np.linalg.norm(stands - (stands @ upward)[:, None] * upward, axis=1)))
        fov = float(np.median([camera.height / camera.intrinsics[1, 1] for camera in photos]))
    else:
        fov = 2 * np.tan(np.radians(FIELD_OF_VIEW) / 2)
        narrowest = np.arctan(fov / 2 * min(1.0, size[0] / size[1]))
        away = float(np.linalg.norm(corners - middle, axis=1).max() / np.sin(narrowest))  # a sphere around all is seen
        height, radius = away * np.sin(np.radians(ELEVATION)), away * np.cos(np.radians(ELEVATION))
    places = [middle + radius * (np.cos(turn) * right + np.sin(turn) * front) + height * upward for turn in turns]
    return [_camera(look_at(place, middle, up), size, size[1] / fov) for place in places]


def along(photos: Sequence[Camera], frames: int, size: tuple[int, int]) -> list[Camera]:
    """Smoothly from each photo's place and direction to the next one's, in their order."""
    from scipy.interpolate import CubicSpline
    from scipy.spatial.transform import Rotation, RotationSpline

    if len(photos) == 1:
        photos = [photos[0], photos[0]]
    times = np.arange(len(photos), dtype=np.float64)
    wanted = np.linspace(0, times[-1], frames)
    places = CubicSpline(times, np.array([camera.position for camera in photos]))(wanted)
    turns = RotationSpline(times, Rotation.from_matrix([c.world_to_camera[:3, :3] for c in photos]))(wanted)
    focal = np.interp(wanted, times, [camera.intrinsics[1, 1] / camera.height for camera in photos])
    cameras = []
    for place, turn, share in zip(places, turns.as_matrix(), focal, strict=True):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn, -turn @ place
        cameras.append(_camera(matrix, size, share * size[1]))
    return cameras


def _camera(world_to_camera: Float[np.ndarray, "4 4"], size: tuple[int, int], focal: float) -> Camera:
    width, height = size
    return Camera(
        world_to_camera, np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]), width, height
    )


def _level(upward: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """A unit vector square to the upward one."""
    other = np.eye(3)[int(np.abs(upward).argmin())]
    level = other - (other @ upward) * upward
    return level / np.linalg.norm(level)
