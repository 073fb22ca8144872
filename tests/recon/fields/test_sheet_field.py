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


def test_the_distance_is_that_of_the_foot():
    field, spacing = _sphere()
    queries = field.points + 0.4 * spacing * np.random.default_rng(1).standard_normal(field.points.shape)
    local = field.at(queries)
    np.testing.assert_allclose(local.foot + local.distance[:, None] * local.axis, queries, atol=1e-12)
