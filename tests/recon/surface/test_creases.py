"""Vertices are moved onto creases that are near, and only there."""

from __future__ import annotations

import numpy as np

from recon.fields.local_fits import fit_sheets
from recon.fields.sheet_field import SheetField
from recon.surface.sheets.borders import Mesh
from recon.surface.sheets.creases import with_creases

SPACING = 0.1


def _roof() -> SheetField:
    """Two planes that meet in the y axis, at right angles."""
    across, along = np.meshgrid(np.arange(0.05, 1, SPACING), np.arange(-1, 1, SPACING), indexing="ij")
    side = np.stack([across, along, -across], 2).reshape(-1, 3)
    return SheetField.of(fit_sheets(np.concatenate([side, side * [-1, 1, 1]])))


def test_vertices_beside_a_crease_are_moved_onto_it_and_far_ones_stay():
    beside = np.array([[0.0, 0.0, -0.03], [0.0, 0.1, -0.03], [0.05, 0.05, -0.05]])
    far = beside + [0, 0, 100 * SPACING]
    mesh = Mesh(np.concatenate([beside, far]), np.array([[0, 1, 2], [3, 4, 5]]))
    moved = with_creases(mesh, _roof()).vertices
    np.testing.assert_allclose(moved[:2, [0, 2]], 0, atol=0.1 * SPACING)
    np.testing.assert_array_equal(moved[3:], far)
