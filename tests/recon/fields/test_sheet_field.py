"""The field's distance and foot, on a sphere."""

from __future__ import annotations

import numpy as np
import pytest

from recon.fields.local_fits import Sheets
from recon.fields.sheet_field import SheetField

COUNT, RADIUS = 8_000, 3.0


def _sphere() -> tuple[SheetField, float]:
    """Samples of a sphere with its normals, and their spacing."""
    normals = np.random.default_rng(0).standard_normal((COUNT, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    spacing = RADIUS * np.sqrt(4 * np.pi / COUNT)
    sheets = Sheets(RADIUS * normals, normals, np.full(COUNT, spacing), 0.0, np.arange(COUNT))
    return SheetField.of(sheets), spacing


@pytest.mark.parametrize("height", [-0.5, 0.0, 0.5])
def test_the_foot_is_on_a_sphere_without_the_error_of_tangent_planes(height):
    field, spacing = _sphere()
    queries = field.points + height * spacing * field.axes
    queries += 0.3 * spacing * np.random.default_rng(1).standard_normal(queries.shape)
    error = np.linalg.norm(field.at(queries).foot, axis=1) - RADIUS
    of_planes = spacing**2 / (2 * RADIUS)  # the height of tangent planes a spacing beside where they touch
    assert abs(error.mean()) < 0.1 * of_planes
    assert np.abs(error).mean() < 0.15 * of_planes


def test_between_parallel_sheets_the_nearer_one_counts():
    """At random places beside two planes one spacing apart, wherever the nearest sample is."""
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(0, 40, (3_200, 2)), rng.integers(2, size=3_200)].astype(float)
    axes = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    field = SheetField.of(Sheets(points, axes, np.ones(len(points)), 0.0, np.arange(len(points))))
    queries = np.c_[rng.uniform(2, 38, (2_000, 2)), rng.uniform(-0.8, 1.8, 2_000)]
    queries = queries[np.abs(queries[:, 2] - 0.5) > 0.05]
    nearer = np.where(queries[:, 2] > 0.5, 1.0, 0.0)
    local = field.at(queries)
    assert (field.points[local.reference, 2] == nearer).mean() > 0.999
    assert np.quantile(np.abs(local.foot[:, 2] - nearer), 0.999) < 1e-9


def test_the_distance_is_that_of_the_foot():
    field, spacing = _sphere()
    queries = field.points + 0.4 * spacing * np.random.default_rng(1).standard_normal(field.points.shape)
    local = field.at(queries)
    np.testing.assert_allclose(local.foot + local.distance[:, None] * local.axis, queries, atol=1e-12)
