"""Boundary loops and deviations against geometry that is known."""

import numpy as np
import pytest
import trimesh

from recon.surface.boundary import boundary_of
from recon.surface.deviation import Deviation, point_distances
from recon.surface.facts import mesh_facts


def tube(length: float, radius: float) -> trimesh.Trimesh:
    """A cylinder without caps, 200 vertices around, wider at its upper end."""
    turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    rings = [
        np.stack([r * np.cos(turn), r * np.sin(turn), np.full(200, z)], axis=1)
        for r, z in ((radius, 0.0), (2 * radius, length))
    ]
    i = np.arange(200)
    j = (i + 1) % 200
    faces = np.concatenate([np.stack([i, j, 200 + j], axis=1), np.stack([i, 200 + j, 200 + i], axis=1)])
    return trimesh.Trimesh(np.concatenate(rings), faces, process=False)


def test_a_tube_ends_at_two_circles_the_longer_one_first():
    boundary = boundary_of(tube(3.0, 1.0))
    assert boundary.lengths == pytest.approx([4 * np.pi, 2 * np.pi], rel=1e-3)
    upper = boundary.segments[boundary.loop == 0]
    assert (upper[..., 2] == 3.0).all() and len(upper) == 200
    assert mesh_facts(tube(3.0, 1.0)).boundary_lengths == pytest.approx((4 * np.pi, 2 * np.pi), rel=1e-3)


def test_a_closed_mesh_has_no_boundary():
    boundary = boundary_of(trimesh.creation.icosphere())
    assert boundary.segments.shape == (0, 2, 3) and len(boundary.lengths) == 0
    assert mesh_facts(trimesh.creation.box()).boundary_lengths == ()


def test_points_over_a_box_have_their_heights_as_distances_also_far_from_the_origin():
    far = np.array([552_000.0, 5_241_000.0, 300.0])
    box = trimesh.creation.box((10, 20, 30))
    box.apply_translation(far)
    heights = np.array([0.0, 0.5, 1.0, 4.0])
    points = far + np.stack([np.arange(4.0), np.arange(4.0), 15 + heights], axis=1)
    distances = point_distances(box, points)
    np.testing.assert_allclose(distances, heights, atol=1e-5)
    told = Deviation.of(distances, points)
    assert (told.mean, told.median, told.greatest) == pytest.approx((1.375, 0.75, 4.0), abs=1e-5)
    assert told.quantile_95 == pytest.approx(np.quantile(heights, 0.95), abs=1e-5)
    diagonal = np.sqrt(9 + 9 + 16)
    assert told.percent()["mean"] == pytest.approx(137.5 / diagonal, rel=1e-5)
