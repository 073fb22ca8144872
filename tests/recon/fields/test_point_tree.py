"""The tree of points, against another library's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from recon.fields.point_tree import PointTree

SIZES = (1, 2, 10, 11, 21, 500, 20_000)


def _points(kind: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    points = rng.standard_normal((count, 3))
    if kind == "a sphere":
        return points / np.linalg.norm(points, axis=1, keepdims=True)
    if kind == "a line":
        return points[:, :1] * [1.0, 2.0, -1.0]
    if kind == "a grid, each place many times":
        return np.round(points)
    return 1e-6 * points + 5.0 * rng.integers(3, size=(count, 1))  # three heaps


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("kind", ["a sphere", "a line", "a grid, each place many times", "heaps far apart"])
@pytest.mark.parametrize("k", [1, 2, 24, 200])
def test_no_other_point_is_nearer(kind: str, count: int, k: int):
    points, k = _points(kind, count), min(k, count)
    places = np.concatenate([points[:300], 3 * np.random.default_rng(0).standard_normal((300, 3))])
    distances, numbers = PointTree(points).query(places, k)
    assert distances == pytest.approx(np.asarray(KDTree(points).query(places, k)[0]).reshape(distances.shape))
    numbers = numbers.reshape(len(places), k)
    to_found = np.linalg.norm(points[numbers] - places[:, None], axis=2)
    assert to_found == pytest.approx(distances.reshape(numbers.shape))
    assert (np.diff(np.sort(numbers, axis=1)) > 0).all(), "a point was found twice"


@pytest.mark.parametrize("count", SIZES)
def test_points_within_a_radius_are_counted(count: int):
    points = _points("a sphere", count)
    places, radii = _points("a sphere", 200), np.random.default_rng(0).uniform(0, 2.5, 200)
    expected = (np.linalg.norm(points - places[:, None], axis=2) <= radii[:, None]).sum(1)
    assert (PointTree(points).count(places, radii) == expected).all()


def test_more_points_than_there_are_cannot_be_found():
    with pytest.raises(ValueError, match="there are 10 points, not 11"):
        PointTree(_points("a sphere", 10)).query(np.zeros((1, 3)), 11)
