"""Points in lines: which of them are kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from recon.fields.neighbourhoods import distinct_along_curve
from recon.fields.scan_lines import without_crowded_lines
from tests import clouds
from tests.clouds import Shape, uneven

LINES = 20


def lines(apart: float) -> np.ndarray:
    """Lines in a plane as far from each other as 1, along them points as far as `apart`."""
    x, y = np.meshgrid(np.arange(float(LINES)), np.arange(0, LINES, apart), indexing="ij")
    y = y + apart * np.random.default_rng(0).random((LINES, 1))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    return points[distinct_along_curve(points)]


@pytest.mark.parametrize(
    "shape", [clouds.disc(), clouds.cube(), clouds.parallel_sheets(0.02), uneven(clouds.sphere())], ids=lambda s: s.name
)
@pytest.mark.parametrize("seed", [0, 1])
def test_points_at_random_are_kept_but_for_a_few(shape: Shape, seed: int):
    assert len(without_crowded_lines(shape.cloud(5_000, seed))[0]) > 0.997 * 5_000


@pytest.mark.parametrize("apart", [0.1, 0.03, 0.005])
def test_points_of_lines_come_out_about_half_as_far_apart_as_the_lines(apart):
    points = lines(apart)
    kept, neighbours = without_crowded_lines(points)
    left = points[kept]
    along: list[np.ndarray] = [np.diff(np.sort(left[left[:, 0] == x, 1])) for x in range(LINES)]
    assert 0.2 < np.median(np.concatenate(along)) < 1.0
    assert max(gaps.max() for gaps in along) < 1.5, "a line has a hole"
    near = np.linalg.norm(left[neighbours] - left[:, None], axis=2)
    assert near == pytest.approx(np.asarray(KDTree(left).query(left, neighbours.shape[1])[0]))


def test_lines_with_few_points_between_are_left_alone():
    points = lines(0.25)
    assert len(without_crowded_lines(points)[0]) == len(points)


def test_a_hole_is_no_distance_of_lines():
    """Points around a hole of ten spacings have no neighbours on one side only."""
    points = clouds.disc().cloud(5_000)
    points = points[np.linalg.norm(points, axis=1) > 5 * clouds.disc().spacing(5_000)]
    assert len(without_crowded_lines(points)[0]) == len(points)


def test_places_that_were_measured_many_times_count_as_one():
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0), [0.0]), -1).reshape(-1, 3)
    points = np.repeat(places, 20, axis=0) + 0.01 * rng.standard_normal((18_000, 3))
    kept = without_crowded_lines(points[distinct_along_curve(points)])[0]
    assert len(places) == pytest.approx(len(kept), rel=0.2)
