"""Pictures of points: which is seen where, how large, in what light."""

import numpy as np
import pytest

from render.cameras import framing
from render.meshes import to_linear, to_srgb
from render.points import covering_diameter, plane_normals, render_points

RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.2, 0.8)
CORNERS = np.array([[-1.0, 0, -1], [1, 0, -1], [-1, 0, 1], [1, 0, 1]])


def camera(size: int = 100):
    return framing(CORNERS, (0, -1, 0), size=(size, size), orthographic=True, margin=0.0)


def test_a_point_is_a_disc_of_its_diameter_around_its_place():
    picture = render_points(np.array([[0.5, 0, 0.25]]), camera(), RED, diameter=11.0, supersampling=4)
    (row,), (column,) = camera().project(np.array([[0.5, 0, 0.25]]))[0].T[::-1]
    y, x = np.mgrid[:100, :100] + 0.5
    weights = picture.alpha / picture.alpha.sum()
    assert ((weights * x).sum(), (weights * y).sum()) == pytest.approx((column, row), abs=0.1)
    assert picture.alpha.sum() == pytest.approx(np.pi * 5.5**2, rel=0.03)
    assert np.abs(picture.color[picture.alpha > 0.99] - RED).max() < 1e-3


def test_the_nearer_of_two_points_is_seen_whatever_their_order():
    points, colors = np.array([[0.0, 0, 0], [0, 1, 0]]), np.array([RED, BLUE])
    for order in ([0, 1], [1, 0]):
        picture = render_points(points[order], camera(), colors[order], diameter=9.0)
        np.testing.assert_allclose(picture.color[50, 50], RED, atol=1e-3)
        assert picture.face[50, 50] == order.index(0)
        assert picture.depth[50, 50] == pytest.approx(camera().project(points[:1])[1][0], rel=1e-5)
        assert picture.alpha[5, 5] == 0 and picture.face[5, 5] == -1 and np.isinf(picture.depth[5, 5])


def test_points_beside_and_behind_the_camera_are_left_out():
    view = framing(CORNERS, (0, -1, 0), size=(60, 60))
    behind = view.position - 3 * view.forward
    picture = render_points(np.stack([behind, view.position + 40 * np.array([1.0, 0, 0])]), view, RED, diameter=5.0)
    assert picture.alpha.sum() == 0


def test_discs_of_the_covering_diameter_cover_a_sheet():
    rng = np.random.default_rng(0)
    for count in (3000, 30_000):
        sheet = rng.uniform(-1, 1, (count, 3)) * (0.8, 0, 0.8)
        diameter = covering_diameter(sheet, camera(300))
        alpha = render_points(sheet, camera(300), RED, diameter).alpha[40:260, 40:260]
        assert alpha.mean() > 0.8


def test_normals_of_planes_and_the_light_on_them_do_not_depend_on_their_sense():
    rng = np.random.default_rng(0)
    normal = np.array([2.0, -3, 6]) / 7
    across = np.linalg.svd(normal[None])[2][1:]
    points = rng.uniform(-1, 1, (2000, 2)) @ across
    found = plane_normals(points)
    np.testing.assert_allclose(np.abs(found @ normal), 1, atol=1e-5)
    view = framing(points, normal, size=(80, 80))
    pictures = [render_points(points, view, RED, 6.0, sign * found) for sign in (1, -1)]
    np.testing.assert_array_equal(pictures[0].color, pictures[1].color)
    for direction in (normal, across[0] + 0.15 * normal):
        view = framing(points, direction, size=(80, 80))
        picture = render_points(points, view, RED, 6.0, found)
        right, down, forward = view.world_to_camera[:3, :3]
        lamp = (-0.45 * right - 0.55 * down - forward) / np.sqrt(0.45**2 + 0.55**2 + 1)
        light = to_linear(np.array(RED)) * (0.22 + 0.78 * abs(normal @ lamp))
        assert np.abs(picture.color[picture.alpha > 0.99] - to_srgb(light)).max() < 2e-3
