"""Closest points and inside tests against analytic distances."""

import numpy as np
import pytest
import trimesh

from recon.surface.closest import TriangleIndex


@pytest.mark.parametrize("offset", [0.0, 4.3e6])
def test_distance_to_a_box_is_exact_wherever_it_stands(offset):
    box = trimesh.creation.box((2, 4, 6))
    rng = np.random.default_rng(0)
    points = rng.uniform(-6, 6, (2000, 3))
    outside = np.abs(points) - [1, 2, 3]
    expected = np.where(outside.max(1) > 0, np.linalg.norm(np.maximum(outside, 0), axis=1), -outside.max(1))
    index = TriangleIndex(box.triangles + offset)
    found = index.closest(points + offset)
    assert np.abs(found.distances - expected).max() < 1e-5
    assert np.abs(np.linalg.norm(found.points - offset - points, axis=1) - expected).max() < 1e-5
    on_face = (found.points - offset) @ np.eye(3) - box.triangles_center[found.triangles]
    assert np.abs((on_face * box.face_normals[found.triangles]).sum(1)).max() < 1e-5
    assert np.array_equal(index.contains(points + offset), outside.max(1) < 0)


def test_segments_as_flat_triangles():
    rng = np.random.default_rng(1)
    segments = rng.standard_normal((50, 2, 3))
    points = rng.standard_normal((500, 3)) * 2
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    t = np.clip(((points[:, None] - start) * along).sum(-1) / (along**2).sum(-1), 0, 1)
    expected = np.linalg.norm(points[:, None] - (start + t[..., None] * along), axis=-1)
    found = TriangleIndex.of_segments(segments).closest(points)
    assert np.abs(found.distances - expected.min(1)).max() < 1e-5
    assert np.array_equal(found.triangles, expected.argmin(1))


def test_a_cavity_is_outside():
    shell = np.concatenate(
        [trimesh.creation.icosphere(3, 2.0).triangles, trimesh.creation.icosphere(3, 1.0).triangles[:, ::-1]]
    )
    assert TriangleIndex(shell).contains(np.array([[0, 0, 0.1], [0, 1.5, 0.1], [0, 0, 2.5]])).tolist() == [
        False,
        True,
        False,
    ]
