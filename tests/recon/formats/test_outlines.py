"""Mending of drawn contours, against shapely."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shapely import Polygon
from shapely.geometry import LinearRing

from recon.formats.outlines import (
    Remarks,
    crossings,
    drop_repeats,
    even_odd,
    fit_plane,
    in_plane_axes,
    join,
    touches_itself,
)

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


def star(points: int, step: int) -> np.ndarray:
    """The star polygon {points/step}."""
    angle = 2 * np.pi * step * np.arange(points) / points
    return np.column_stack([np.cos(angle), np.sin(angle)])


def region(polygons: list[tuple[np.ndarray, bool]]) -> float:
    return sum((-1) ** hole * Polygon(vertices).area for vertices, hole in polygons)


def test_a_plane_is_fitted_to_noisy_points():
    rng = np.random.default_rng(0)
    normal = np.array([1.0, 2, 2]) / 3
    axes = in_plane_axes(normal)
    points = rng.normal(size=(500, 2)) @ axes * (30, 30, 30) + (7, 8, 9) + 1e-3 * rng.normal(size=(500, 1)) * normal
    fit = fit_plane(points)
    assert abs(fit.normal @ normal) == pytest.approx(1, abs=1e-8)
    assert fit.noise == pytest.approx(1e-3, rel=0.1) and fit.deviation < 5e-3 and fit.breadth > 10


@pytest.mark.parametrize("normal", np.vstack([np.eye(3), -np.eye(3), [[0.6, 0, 0.8], [-0.36, 0.48, 0.8]]]))
def test_axes_of_a_plane_are_orthonormal_and_right_handed(normal: np.ndarray):
    u, v = in_plane_axes(normal)
    np.testing.assert_allclose(np.cross(u, v), normal, atol=1e-15)
    np.testing.assert_allclose([u @ u, v @ v, u @ v], [1, 1, 0], atol=1e-15)


def test_repeats_are_dropped_and_flat_outlines_are_empty():
    repeated = np.repeat(SQUARE, 3, axis=0)
    np.testing.assert_array_equal(drop_repeats(repeated, 1.0), SQUARE)
    for flat in (SQUARE[:2], np.zeros((5, 2)), np.column_stack([np.arange(9.0), np.arange(9.0)]), np.empty((0, 2))):
        assert len(drop_repeats(flat, 1.0)) == 0


@pytest.mark.parametrize(("points", "step", "count"), [(5, 2, 5), (7, 3, 14), (9, 4, 27), (12, 1, 0)])
def test_crossings_of_star_polygons(points: int, step: int, count: int):
    """The star {n/k} crosses itself n (k - 1) times."""
    found = crossings([star(points, step)], 1.0, Remarks(Path("a")), "here")
    assert len(found) == count and (found == 0).all()
    assert LinearRing(star(points, step)).is_simple == (count == 0)


def test_touching_is_no_crossing():
    """A shared vertex, a shared edge, an edge that lies on a longer one, a vertex on an edge."""
    for other in (SQUARE + 1, SQUARE + (1, 0), SQUARE * 0.5 + (1, 0.25), star(4, 1) * 0.5 + (1.5, 0.5)):
        assert len(crossings([SQUARE, other], 1.0, Remarks(Path("a")), "here")) == 0
    overlapping = crossings([SQUARE, SQUARE * 0.5 + 0.75], 1.0, Remarks(Path("a")), "here")
    np.testing.assert_array_equal(overlapping, [[0, 1], [0, 1]])


def test_even_odd_of_a_pentagram_leaves_its_middle_out():
    """What is left are five triangles on the sides of the inner pentagon, whose circumradius is (3 - sqrt 5) / 2."""
    inner = (3 - 5**0.5) / 2
    side, height = 2 * inner * np.sin(np.pi / 5), 1 - inner * np.cos(np.pi / 5)
    assert region(even_odd([star(5, 2)])) == pytest.approx(5 * side * height / 2, rel=1e-6)


def test_even_odd_is_the_symmetric_difference():
    rng = np.random.default_rng(1)
    outlines = [star(40, 1) * rng.uniform(0.5, 1.5) + rng.uniform(-1, 1, 2) for _ in range(6)]
    expected = Polygon()
    for outline in outlines:
        expected = expected.symmetric_difference(Polygon(outline))
    assert region(even_odd(outlines)) == pytest.approx(expected.area, rel=1e-6)


def test_join_is_the_union_of_what_each_outline_encloses():
    outlines = [star(5, 2), star(5, 2) + (0.7, 0.1), SQUARE]
    expected = Polygon(SQUARE)
    for pentagram in outlines[:2]:
        for vertices, hole in even_odd([pentagram]):
            assert not hole
            expected = expected.union(Polygon(vertices))
    assert region(join(outlines)) == pytest.approx(expected.area, rel=1e-6)


def test_a_keyhole_comes_out_as_ring_and_hole():
    hole = SQUARE[::-1] * 0.5 + 0.25
    keyhole = np.vstack([SQUARE, SQUARE[:1], hole, hole[:1]])
    assert touches_itself(keyhole, 1.0) and not touches_itself(SQUARE, 1.0)
    assert len(crossings([keyhole], 1.0, Remarks(Path("a")), "here")) == 0
    polygons = even_odd([keyhole])
    assert sorted(is_hole for _, is_hole in polygons) == [False, True]
    assert region(polygons) == pytest.approx(0.75)


def test_remarks_count_and_name_places():
    remarks = Remarks(Path("a"))
    for k in range(9):
        remarks.add("Odd things", f"plane {k // 2}")
    remarks.add("Other things", "plane 7")
    assert remarks.sentences() == (
        "Odd things: 9 (plane 0, plane 1, plane 2, plane 3, plane 4).",
        "Other things: 1 (plane 7).",
    )
    assert str(remarks.wrong("plane 3", "it is wrong")) == "a, plane 3: it is wrong"
