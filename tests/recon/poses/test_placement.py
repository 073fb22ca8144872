"""Where a model stands in the world: GPS against COLMAP's own geodesy, lines and liars among the positions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from recon.inputs import Photo
from recon.poses.placement import east_north_up, placement, robust_similarity
from render.cameras import look_at

ORIGIN = np.array([-91.99, 46.84, 198.0])


def geodetic(local: np.ndarray) -> list[tuple[float, float, float]]:
    """Longitude, latitude, altitude of metres east, north, up of the origin, by COLMAP."""
    import pycolmap

    transform = pycolmap.GPSTransform(pycolmap.GPSTransformEllipsoid.WGS84)
    return [
        (float(longitude), float(latitude), float(altitude))
        for latitude, longitude, altitude in transform.enu_to_ellipsoid(local, ORIGIN[1], ORIGIN[0], ORIGIN[2])
    ]


def posed(local: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Cameras at the places that look at the target, in a model that is turned, scaled and shifted against them."""
    turn = Rotation.from_euler("xyz", (0.7, -0.4, 2.0)).as_matrix()
    poses = []
    for place in local:
        pose = look_at(place, target)
        rotation = pose[:3, :3] @ turn.T
        centre = turn @ place / 7.0 + (3.0, -2.0, 5.0)
        model = np.eye(4)
        model[:3, :3], model[:3, 3] = rotation, -rotation @ centre
        poses.append(model)
    return np.array(poses)


def shots(positions) -> list[Photo]:
    return [Photo(str(i), 4, 3, lambda: np.zeros((3, 4, 3), np.uint8), position=p) for i, p in enumerate(positions)]


def placed(poses: np.ndarray, where) -> np.ndarray:
    centres = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    return where.scale * centres @ where.rotation.T + where.translation


def test_local_metres_are_those_of_another_library():
    local = np.random.default_rng(0).uniform(-500, 500, (20, 3))
    assert east_north_up(np.array(geodetic(local)), ORIGIN) == pytest.approx(local, abs=1e-4)


def test_positions_around_a_house_with_one_that_is_far_off():
    angles = np.linspace(0, 5, 12)
    local = np.stack([20 * np.cos(angles), 20 * np.sin(angles), 2 + np.sin(3 * angles)], 1)
    poses = posed(local, np.array([0.0, 0.0, 3.0]))
    reported = local + np.random.default_rng(1).normal(0, 0.1, local.shape)
    reported[4] += (300.0, -80.0, 40.0)
    where = placement(poses, shots(geodetic(reported)))
    assert where.unit == "m" and where.origin is not None
    moved = placed(poses, where)
    assert np.linalg.norm((moved - moved[0]) - (local - local[0]), axis=1).max() < 0.5
    assert where.scale == pytest.approx(7.0, rel=0.02)


def test_a_street_keeps_the_up_of_its_cameras():
    local = np.stack([np.arange(10) * 5.0, np.arange(10) * 2.0, np.full(10, 1.6)], 1)
    poses = np.concatenate([posed(local[i : i + 1], local[i] + (5.0, 2.0, 0.0)) for i in range(10)])
    where = placement(poses, shots(geodetic(local)))
    assert where.unit == "m" and where.scale == pytest.approx(7.0, rel=0.01)
    for pose in poses:
        down = pose[1, :3] @ where.rotation.T
        assert down == pytest.approx((0, 0, -1), abs=0.01)
        assert pose[2, :3] @ where.rotation.T == pytest.approx(np.array([5, 2, 0]) / np.hypot(5, 2), abs=0.01)


def test_gps_that_is_vaguer_than_the_walk_is_not_used():
    angles = np.linspace(0, 6, 12)
    local = np.stack([np.cos(angles), np.sin(angles), np.zeros(12)], 1)
    poses = posed(local, np.array([0.0, 0.0, -0.5]))
    reported = local + np.random.default_rng(2).normal(0, 4.0, local.shape)
    where = placement(poses, shots(geodetic(reported)))
    assert where.unit == "unknown" and where.scale == 1.0 and "GPS is not used" in where.note
    assert where.rotation @ (Rotation.from_euler("xyz", (0.7, -0.4, 2.0)).as_matrix() @ (0, 0, 1)) == pytest.approx(
        (0, 0, 1), abs=0.01
    )


def test_similarity_is_exact_without_noise():
    random = np.random.default_rng(3)
    points = random.normal(size=(9, 3))
    rotation = Rotation.random(random_state=4).as_matrix()
    scale, found, translation = robust_similarity(points, 2.5 * points @ rotation.T + (1, 2, 3), np.eye(3))
    assert scale == pytest.approx(2.5) and found == pytest.approx(rotation) and translation == pytest.approx([1, 2, 3])
