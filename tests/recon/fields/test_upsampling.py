"""Denser samples of sheets whose surface is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from recon.fields.local_fits import fit_sheets
from recon.fields.upsampling import upsample


@pytest.fixture(scope="module")
def ball():
    """Samples of a unit sphere, and a coarse mesh of it."""
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((3000, 3))
    points = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return fit_sheets(points), trimesh.creation.icosphere(subdivisions=3)


def test_samples_lie_on_the_sheet_and_not_on_the_mesh(ball):
    sheets, mesh = ball
    samples = upsample(sheets, mesh, 4, np.random.default_rng(1))
    assert len(samples.points) == 4 * len(sheets.points)
    off = np.abs(np.linalg.norm(samples.points, axis=1) - 1).mean()
    on_mesh = np.abs(np.linalg.norm(mesh.sample(12_000, seed=1), axis=1) - 1).mean()
    assert off < 0.15 * on_mesh
    cosine = np.abs((samples.normals * samples.points).sum(1))
    assert np.degrees(np.arccos(np.clip(cosine, 0, 1))).mean() < 1


def test_samples_are_spread_more_evenly_than_at_random(ball):
    sheets, mesh = ball
    even = upsample(sheets, mesh, 2, np.random.default_rng(2)).points
    random = np.asarray(mesh.sample(len(even), seed=2))
    nearest_even, nearest_random = (cKDTree(points).query(points, 2)[0][:, 1] for points in (even, random))
    assert np.quantile(nearest_even, 0.05) > 4 * np.quantile(nearest_random, 0.05)
    truth = np.random.default_rng(3).standard_normal((20_000, 3))
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    covered_even, covered_random = (cKDTree(points).query(truth)[0].mean() for points in (even, random))
    assert covered_even < 0.9 * covered_random


def test_the_same_generator_gives_the_same_samples(ball):
    first, second = (upsample(*ball, 1, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first.points, second.points)


def test_nothing_to_sample_is_a_sentence(ball):
    sheets, _ = ball
    flat = trimesh.Trimesh(np.zeros((3, 3)), [[0, 1, 2]], process=False)
    with pytest.raises(ValueError, match="no area"):
        upsample(sheets, flat, 2, np.random.default_rng(5))
    with pytest.raises(ValueError, match="leaves no sample"):
        upsample(sheets, flat, 0, np.random.default_rng(5))
