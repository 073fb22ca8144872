"""Where a model without up, north and scale stands in the world: user = scale * rotation @ x + translation.

Without GPS up becomes z, found from how the cameras are held, and the scale stays as it came. With GPS in enough photos
the coordinates are metres east, north and up of the photos' middle (a local tangent plane of WGS 84).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from recon.formats.camera_poses import upward
from recon.inputs import Photo
from recon.rotations import shortest_turn

FEWEST = 4  # GPS positions
BELIEVED = 0.3  # of the positions' spread: the largest typical distance between GPS and cameras that is believed
FLAT = 0.25  # second to first spread of the positions, below which they lie on a line
ROUNDS = 20  # of reweighting

Points = Float64[np.ndarray, "n 3"]


class Placement(NamedTuple):
    """The similarity and what is told of it. `origin` is longitude, latitude and altitude of (0, 0, 0), by GPS."""

    scale: float
    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, "3"]
    unit: str
    note: str
    origin: tuple[float, float, float] | None = None


def placement(world_to_cameras: Float64[np.ndarray, "n 4 4"], photos: Sequence[Photo]) -> Placement:
    """The placement of a model with these cameras, which took these photos."""
    rotations, translations = world_to_cameras[:, :3, :3], world_to_cameras[:, :3, 3]
    centres = -np.einsum("nji,nj->ni", rotations, translations)
    level = shortest_turn(upward(world_to_cameras), (0.0, 0.0, 1.0))
    known = np.array([photo.position is not None for photo in photos])
    unplaced = Placement(1.0, level, np.zeros(3), "unknown", "The scale is unknown; up is as the cameras are held.")
    if known.sum() < FEWEST:
        return unplaced
    places = np.array([photo.position for photo in photos if photo.position is not None])
    origin = np.median(places, axis=0)
    local = east_north_up(places, origin)
    scale, rotation, translation = robust_similarity(centres[known], local, level)
    residuals = np.linalg.norm(scale * centres[known] @ rotation.T + translation - local, axis=1)
    spread = np.linalg.norm(local - local.mean(0), axis=1)
    typical = float(np.median(residuals))
    if typical > BELIEVED * float(np.median(spread)):
        middle = float(np.median(spread))
        note = f"GPS is not used: it is {typical:.1f} m off the cameras, which are {middle:.1f} m from their middle."
        return unplaced._replace(note=note)
    note = f"Metres and north are by GPS of {known.sum()} photos, typically {typical:.2f} m off the cameras."
    return Placement(scale, rotation, translation, "m", note, (float(origin[0]), float(origin[1]), float(origin[2])))


def east_north_up(places: Points, origin: Float64[np.ndarray, "3"]) -> Points:
    """Longitude, latitude (degrees) and altitude (m) as metres in the tangent plane at `origin`."""
    longitude, latitude = np.radians(origin[:2])
    sin_o, cos_o, sin_a, cos_a = np.sin(longitude), np.cos(longitude), np.sin(latitude), np.cos(latitude)
    east = (-sin_o, cos_o, 0.0)
    north = (-sin_a * cos_o, -sin_a * sin_o, cos_a)
    up = (cos_a * cos_o, cos_a * sin_o, sin_a)
    return (_earth_centred(places) - _earth_centred(origin[None])) @ np.array([east, north, up]).T


def _earth_centred(places: Points) -> Points:
    """Earth-centred coordinates on the ellipsoid of WGS 84, with the radius N of curvature in the prime vertical."""
    a, e2 = 6378137.0, 6.69437999014e-3
    (longitude, latitude), altitude = np.radians(places[:, :2]).T, places[:, 2]
    n = a / np.sqrt(1 - e2 * np.sin(latitude) ** 2)
    x, y = np.cos(longitude), np.sin(longitude)
    across = (n + altitude) * np.cos(latitude)
    return np.stack([across * x, across * y, (n * (1 - e2) + altitude) * np.sin(latitude)], 1)


def robust_similarity(
    source: Points, target: Points, level: Float64[np.ndarray, "3 3"]
) -> tuple[float, Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3"]]:
    """Scale, rotation and translation that take `source` to `target`, whatever a minority of them says.

    Least squares with weights 1 / (residual + a little), which makes it a least sum of distances. Where the target lies
    about on a line, which leaves the turn around it open, `level` is kept and only a turn about z is sought.
    """
    spread = np.linalg.svd(target - target.mean(0), compute_uv=False)
    upright = spread[1] < FLAT * spread[0]
    base = level if upright else np.eye(3)
    weights = np.ones(len(source))
    for _ in range(ROUNDS):
        scale, turn, translation = _similarity(source @ base.T, target, weights, upright)
        residuals = np.linalg.norm(scale * source @ (turn @ base).T + translation - target, axis=1)
        weights = 1 / (residuals + 1e-3 * spread[0] + 1e-12)
    return scale, turn @ base, translation


def _similarity(
    source: Points, target: Points, weights: Float64[np.ndarray, "n"], upright: bool
) -> tuple[float, Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3"]]:
    """The weighted least-squares similarity (Umeyama 1991); `upright` turns about z only."""
    weights = weights / weights.sum()
    from_middle, to_middle = weights @ source, weights @ target
    a, b = source - from_middle, target - to_middle
    covariance = b.T @ (weights[:, None] * a)
    if upright:
        angle = np.arctan2(covariance[1, 0] - covariance[0, 1], covariance[0, 0] + covariance[1, 1])
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        a, covariance = a * (1, 1, 0), covariance * np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    else:
        left, _, right = np.linalg.svd(covariance)
        rotation = left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
    scale = float(np.trace(rotation.T @ covariance) / max(weights @ (a * a).sum(1), 1e-30))
    return scale, rotation, to_middle - scale * rotation @ from_middle
