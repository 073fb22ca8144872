"""Lines: where they lie, how thick they are, what hides them."""

import numpy as np
import pytest
import trimesh

from render.cameras import Camera, look_at
from render.lines import draw_segments, polyline_segments
from render.meshes import render_mesh

SIZE = 100


def camera(orthographic: bool = True) -> Camera:
    """From above, 20 pixels a unit in the plane z = 0, x to the right and y up."""
    scale = 20.0 if orthographic else 100.0
    intrinsics = np.array([[scale, 0, SIZE / 2], [0, scale, SIZE / 2], [0, 0, 1]])
    return Camera(look_at((0, 0, 5), (0, 0, 0), (0, 1, 0)), intrinsics, SIZE, SIZE, orthographic)


def black() -> np.ndarray:
    return np.zeros((SIZE, SIZE, 3), np.float32)


@pytest.mark.parametrize("width", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("y", [0.0, 0.512])
def test_a_line_has_its_place_and_its_width(width, y):
    segment = np.array([[[-2, y, 0], [2, y, 0.0]]])
    ink = draw_segments(black(), camera(), segment, (1, 1, 1), width)[..., 0]
    column = ink[:, 50]
    assert column.sum() == pytest.approx(width, abs=0.12)
    centre = (column * (np.arange(SIZE) + 0.5)).sum() / column.sum()
    assert centre == pytest.approx(SIZE / 2 - 20 * y, abs=0.1)
    assert not ink[:, :8].any() and not ink[:, 92:].any()


def test_a_slanted_line_is_as_thick_as_a_level_one():
    segment = np.array([[[-2, -1, 0], [2, 1.5, 0.0]]])
    ink = draw_segments(black(), camera(), segment, (1, 1, 1), 2.0)[..., 0]
    length = 20 * np.hypot(4, 2.5)
    assert ink.sum() == pytest.approx(2.0 * length + np.pi, rel=0.05)  # two half discs at the ends


def test_hidden_parts_are_fainter_and_the_rest_is_not():
    plate = trimesh.creation.box((2, 2, 0.2))
    picture = render_mesh(plate, camera(), (0, 0, 0), lit=False)
    segment = np.array([[[-2, 0, -1], [2, 0, -1.0]]])
    drawn = draw_segments(black(), camera(), segment, (1, 0.5, 0), 3.0, picture.depth, hidden=0.25)
    np.testing.assert_allclose(drawn[50, 50], (0.25, 0.125, 0), atol=1e-6)
    np.testing.assert_allclose(drawn[50, 20], (1, 0.5, 0), atol=1e-6)
    unhidden = draw_segments(black(), camera(), segment, (1, 0.5, 0), 3.0)
    np.testing.assert_allclose(unhidden[50, 50], (1, 0.5, 0), atol=1e-6)


def test_in_perspective_a_line_through_a_plate_vanishes_where_it_meets_it():
    """The line dives from z = 1 to z = -1.5 through the plate's top at z = 0.1: seen at x = 0.3, from a height of 4.9
    over it, at the pixel 50 + 100 * 0.3 / 4.9."""
    plate = trimesh.creation.box((3, 3, 0.2))
    view = camera(orthographic=False)
    picture = render_mesh(plate, view, (0, 0, 0), lit=False)
    slope = (1 - 0.1) / (0.3 + 0.7)
    segment = np.array([[[-0.7, 0, 1], [-0.7 + 2.5 / slope, 0, -1.5]]])
    ink = draw_segments(black(), view, segment, (1, 1, 1), 1.0, picture.depth, hidden=0.2)[49:51].sum(0)[:, 0]
    seen = np.flatnonzero(ink[:75] > 0.6)  # beyond column 80 the plate ends
    assert seen.max() == pytest.approx(50 + 100 * 0.3 / 4.9, abs=2.5)
    assert seen.min() == pytest.approx(50 - 100 * 0.7 / 4.0, abs=1.5)
    assert 0.1 < ink[seen.max() + 8] < 0.3


def test_a_line_on_the_surface_is_seen():
    ball = trimesh.creation.icosphere(subdivisions=5)
    picture = render_mesh(ball, camera(), (0, 0, 0), lit=False)
    turn = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(turn), np.zeros(100), np.sin(turn)], 1)
    ink = draw_segments(black(), camera(), polyline_segments(circle, closed=True), (1, 1, 1), 1.5, picture.depth)
    assert ink[50, 31:69, 0].min() > 0.7


def test_the_nearer_line_lies_on_top():
    segments = np.array([[[0, -1, 1], [0, 1, 1.0]], [[-1, 0, 0], [1, 0, 0]]])
    for order in (slice(None), slice(None, None, -1)):
        drawn = draw_segments(black(), camera(), segments[order], np.array([[1, 0, 0], [0, 1.0, 0]])[order], 4.0)
        np.testing.assert_allclose(drawn[50, 50], (1, 0, 0), atol=1e-6)


def test_lines_outside_or_behind_the_camera_draw_nothing():
    segments = np.array([[[50, 50, 0], [60, 60, 0]], [[0, 0, 4.0], [0, 0, 9]], [[-900, 0, 0], [-800, 0, 0]]])
    assert not draw_segments(black(), camera(orthographic=False), segments, (1, 1, 1)).any()
    assert not draw_segments(black(), camera(), np.zeros((0, 2, 3)), (1, 1, 1)).any()


def test_a_polyline_is_closed_on_demand():
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0.0]])
    assert polyline_segments(points, closed=False).tolist() == [[[0, 0, 0], [1, 0, 0]], [[1, 0, 0], [1, 1, 0]]]
    assert len(polyline_segments(points, closed=True)) == 3
