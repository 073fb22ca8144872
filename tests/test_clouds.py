"""The surfaces of known shape that the methods for points are tested with, tested themselves."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from tests import clouds

SHAPES = [
    *(clouds.disc(), clouds.hemisphere(), clouds.cylinder(), clouds.parallel_sheets(0.3), clouds.moebius_band()),
    *(clouds.junction(), clouds.sphere(), clouds.torus(), clouds.cube()),
    *(clouds.turned(clouds.cylinder(), scale=3.0, offset=(5, -2, 9)), clouds.uneven(clouds.disc())),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_distance_is_that_to_the_samples(shape):
    samples = shape.cloud(60_000, seed=1)
    assert samples.shape == (60_000, 3)
    assert shape.distance(samples).max() < 1e-5 * max(1, np.abs(samples).max())
    low, high = samples.min(0), samples.max(0)
    queries = np.random.default_rng(2).uniform(low - 0.5, high + 0.5, (2_000, 3))
    nearest = KDTree(samples).query(queries)[0]
    error = nearest - shape.distance(queries)
    assert error.min() > -1e-5 * np.abs(samples).max()
    assert np.quantile(error, 0.9) < 4 * shape.spacing(60_000)


@pytest.mark.parametrize("shape", SHAPES[:10], ids=lambda shape: shape.name)
def test_the_samples_are_uniform_over_the_area(shape):
    """Away from the boundary a disc of radius r holds n pi r^2 / area of them, edges and curvature aside."""
    samples, radius = shape.cloud(100_000, seed=3), 0.04 * np.sqrt(shape.area / 4)
    held = KDTree(samples).query_ball_point(samples[:300], radius, return_length=True)
    expected = 100_000 * np.pi * radius**2 / shape.area
    assert np.median(held) == pytest.approx(expected, rel=0.08)
    assert np.quantile(held, 0.05) > 0.4 * expected


def test_the_density_varies_as_it_says():
    samples = clouds.uneven(clouds.cube(), 20.0).cloud(20_000)
    left, right = (np.isclose(samples[:, 0], side).sum() for side in (-1, 1))
    assert right / left == pytest.approx(20, rel=0.25)


def test_same_seed_same_cloud():
    shape = clouds.torus()
    assert np.array_equal(shape.cloud(100, 5), shape.cloud(100, 5))
    assert not np.array_equal(shape.cloud(100, 5), shape.cloud(100, 6))
    assert np.std(shape.distance(shape.cloud(5_000, noise=0.01))) == pytest.approx(0.006, rel=0.1)
