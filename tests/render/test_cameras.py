"""Cameras against projections worked out by hand."""

import numpy as np
import pytest

from render.cameras import Camera, four_sides, framing, look_at


def a_camera(orthographic: bool = False) -> Camera:
    intrinsics = np.array([[100.0, 0, 40], [0, 120.0, 30], [0, 0, 1]])
    return Camera(look_at((3, -7, 2), (0.5, 0.2, -0.3)), intrinsics, 80, 60, orthographic)


def test_projection_follows_the_opencv_axes():
    """x right, y down, z forward: fx x / z + cx."""
    camera = Camera(np.eye(4), np.array([[100.0, 0, 40], [0, 120.0, 30], [0, 0, 1]]), 80, 60)
    pixels, depth = camera.project(np.array([[1.0, 2.0, 10.0], [0, 0, 4], [1, 1, -1]]))
    np.testing.assert_allclose(pixels[:2], [[50, 54], [40, 30]])
    np.testing.assert_allclose(depth, [10, 4, -1])
    assert np.isnan(pixels[2]).all()


def test_orthographic_projection_does_not_divide_by_depth():
    camera = Camera(np.eye(4), np.array([[5.0, 0, 40], [0, 6.0, 30], [0, 0, 1]]), 80, 60, orthographic=True)
    pixels, depth = camera.project(np.array([[1.0, 2.0, 10.0], [1.0, 2.0, -10.0]]))
    np.testing.assert_allclose(pixels, [[45, 42], [45, 42]])
    np.testing.assert_allclose(depth, [10, -10])


def test_look_at_puts_the_target_in_the_middle_and_up_upward():
    camera = a_camera()
    (target, above), _ = camera.project(np.array([[0.5, 0.2, -0.3], [0.5, 0.2, 0.7]]))
    np.testing.assert_allclose(target, [40, 30], atol=1e-9)
    assert above[1] < 30 - 5
    np.testing.assert_allclose(above[0], 40, atol=1e-9)
    rotation = camera.world_to_camera[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(camera.position, (3, -7, 2), atol=1e-12)


@pytest.mark.parametrize("direction", [(0, 0, 1), (0, 0, -1)])
def test_looking_along_up_is_no_failure(direction):
    camera = Camera(look_at(direction, (0, 0, 0)), np.eye(3), 1, 1)
    np.testing.assert_allclose(camera.forward, -np.array(direction), atol=1e-12)


@pytest.mark.parametrize("orthographic", [False, True])
def test_rays_go_through_their_pixels_at_one_depth_a_unit(orthographic):
    camera = a_camera(orthographic)
    origins, directions = camera.rays()
    pixels, depth = camera.project(origins + 5.0 * directions)
    rows, columns = np.mgrid[:60, :80] + 0.5
    np.testing.assert_allclose(pixels, np.stack([columns.ravel(), rows.ravel()], -1), atol=1e-3)
    np.testing.assert_allclose(depth, 5, atol=1e-5)


def test_resizing_keeps_the_view():
    point = np.array([[0.1, 0.4, 0.2]])
    np.testing.assert_allclose(a_camera().resized(3).project(point)[0], 3 * a_camera().project(point)[0])


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("size", [(300, 100), (100, 300)])
def test_framing_is_tight(orthographic, size):
    """Every point keeps the margin, and on one pair of opposite sides the outermost points stand on it."""
    points = np.random.default_rng(3).normal(size=(500, 3)) * (5, 1, 2) + (1e4, 2e4, -3e4)
    camera = framing(points, (1, -2, 0.7), size=size, margin=0.1, orthographic=orthographic)
    pixels, depth = camera.project(points)
    free = pixels / size
    assert free.min() > 0.1 - 1e-6 and free.max() < 0.9 + 1e-6
    assert (free.min(0) < 0.1 + 1e-3).any() and (free.max(0) > 0.9 - 1e-3).any()
    assert (depth > 0).all()


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0.3, -0.2, -2)])
def test_the_four_sides_are_quarter_turns_about_up(up):
    sides, axis = four_sides(up, elevation=20), np.array(up) / np.linalg.norm(up)
    np.testing.assert_allclose(np.linalg.norm(sides, axis=1), 1)
    np.testing.assert_allclose(sides @ axis, np.sin(np.radians(20)))
    level = sides - np.outer(sides @ axis, axis)
    for one, following in zip(level, np.roll(level, -1, axis=0), strict=True):
        np.testing.assert_allclose(np.cross(axis, one), following, atol=1e-12)


def test_the_first_side_is_the_front():
    np.testing.assert_allclose(four_sides(elevation=0, azimuth=0)[:2], [[0, -1, 0], [1, 0, 0]], atol=1e-12)
