"""Repairs on meshes that are broken in known ways; what is closed stays closed."""

import numpy as np
import pytest
import trimesh
from mesh_assertions import assert_closed_and_manifold
from scipy.ndimage import gaussian_filter

from recon.surface.cleaning import (
    simplified,
    smoothed,
    split_non_manifold,
    without_bad_faces,
    without_holes,
    without_small_parts,
)
from recon.surface.facts import mesh_facts
from recon.surface.label_surfaces import label_surfaces
from recon.surface.marching import isosurface


def moved(mesh, offset):
    return mesh.copy().apply_translation(offset)


def merged(*meshes):
    """One mesh with equal positions made one vertex."""
    mesh = trimesh.util.concatenate(meshes)
    mesh.merge_vertices()
    return mesh


def random_solid(seed):
    """Blobs, necks and tunnels with a closed surface."""
    field = 20 * gaussian_filter(np.random.default_rng(seed).standard_normal((40, 40, 40)), 2.5)
    field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = 1
    return isosurface(field.astype(np.float32))


def test_bad_faces_go_and_good_ones_stay():
    box = trimesh.creation.box()
    extra = [[0, 0, 1], [5, 7, 5], box.faces[3], np.roll(box.faces[4], 1)]
    back_to_back = [[0, 1, 6], [1, 0, 6]]
    mesh = trimesh.Trimesh(
        np.concatenate([box.vertices, [[9, 9, 9]]]), np.concatenate([box.faces, extra, back_to_back]), process=False
    )
    cleaned = without_bad_faces(mesh)
    assert_closed_and_manifold(cleaned)
    assert cleaned.volume == pytest.approx(1)
    assert (len(cleaned.vertices), len(cleaned.faces)) == (8, 12)


def test_small_parts_by_volume_or_area():
    big, small = trimesh.creation.icosphere(2), trimesh.creation.icosphere(3, 0.3)
    both = big + moved(small, [3, 0, 0])
    assert mesh_facts(without_small_parts(both, 0.02)).components == 2
    assert mesh_facts(without_small_parts(both, 0.05)).components == 1
    assert without_small_parts(both, 0.05).volume == pytest.approx(big.volume)
    opened = trimesh.Trimesh(both.vertices, both.faces[1:], process=False)
    assert mesh_facts(without_small_parts(opened, 0.05)).components == 2
    assert mesh_facts(without_small_parts(opened, 0.12)).components == 1


def test_boxes_that_touch_in_an_edge_or_a_corner_are_parted():
    box = trimesh.creation.box()
    for offset in ([1, 1, 0], [1, 1, 1]):
        mesh = merged(box, moved(box, offset))
        facts = mesh_facts(mesh)
        assert facts.non_manifold_edges + facts.non_manifold_vertices > 0
        parted = split_non_manifold(mesh)
        assert_closed_and_manifold(parted)
        assert mesh_facts(parted).components == 2
        assert parted.volume == pytest.approx(2)


def test_four_wedges_around_an_edge_keep_their_own_faces():
    """Two opposite quarters of a cylinder touch along the axis: each keeps its inside."""
    box = trimesh.creation.box((1, 1, 3))
    turned = moved(box, [0.5, 0.5, 0]), moved(box, [-0.5, -0.5, 0])
    parts = split_non_manifold(merged(*turned)).split(only_watertight=True)
    assert sorted(part.bounds[0][0] for part in parts) == [-1.0, 0.0]


@pytest.mark.parametrize("seed", range(10))
def test_label_surfaces_merged_by_position_become_manifold_again(seed):
    """As a file without indices (STL) would do to them."""
    labels = np.random.default_rng(seed).integers(0, 4, (6, 6, 6)).astype(np.uint16)
    mesh = label_surfaces(labels).of(1)
    again = split_non_manifold(merged(mesh))
    assert_closed_and_manifold(again)
    assert again.volume == pytest.approx(mesh.volume)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
@pytest.mark.parametrize("seed", range(3))
def test_simplified_solids_stay_closed_and_manifold(seed, share):
    mesh = random_solid(seed)
    fewer, note = simplified(mesh, int(share * len(mesh.faces)))
    assert_closed_and_manifold(fewer)
    assert len(fewer.faces) <= 1.1 * share * len(mesh.faces) or "kept" in note
    assert (mesh_facts(fewer).euler_number == mesh_facts(mesh).euler_number) == (note is None)
    assert fewer.volume == pytest.approx(mesh.volume, rel=0.05)


def test_simplified_far_from_the_origin_and_open():
    """A flat sheet keeps its 116 border edges, and loses nothing by losing the faces within."""
    sheet = isosurface(np.broadcast_to(np.arange(30.0)[:, None, None] - 14.3, (30, 30, 30)), origin=(4e6, -5e5, 0))
    fewer, note = simplified(sheet, 200)
    assert len(fewer.faces) <= 220
    assert note is None
    assert fewer.area == pytest.approx(29**2)
    assert np.allclose(fewer.vertices[:, 0], 4e6 + 14.3)


def test_more_faces_than_there_are_changes_nothing():
    box = trimesh.creation.box()
    assert simplified(box, 50) == (box, None)


def test_smoothing_takes_noise_and_keeps_volume_and_place():
    clean = trimesh.creation.icosphere(4, 2.0).apply_translation([1e5, 0, 0])
    noisy = clean.copy()
    noisy.vertices += 0.01 * np.random.default_rng(0).standard_normal(noisy.vertices.shape)
    result = smoothed(noisy)
    radius = np.linalg.norm(result.vertices - [1e5, 0, 0], axis=1)
    assert np.std(radius) < 0.3 * np.std(np.linalg.norm(noisy.vertices - [1e5, 0, 0], axis=1))
    assert result.volume == pytest.approx(noisy.volume, rel=1e-4)
    assert np.abs(radius - 2).max() < 0.02


def test_smoothing_leaves_a_border_where_it_is():
    sheet = isosurface(np.broadcast_to(np.arange(20.0)[:, None, None] - 9.3, (20, 20, 20)))
    noisy = sheet.copy()
    noisy.vertices[:, 0] += 0.1 * np.random.default_rng(0).standard_normal(len(noisy.vertices))
    result = smoothed(noisy)
    border = (np.abs(sheet.vertices[:, 1:] - 9.5) == 9.5).any(1)
    assert np.array_equal(result.vertices[border], noisy.vertices[border])
    assert np.std(result.vertices[~border, 0]) < 0.5 * np.std(noisy.vertices[~border, 0])


def test_small_holes_are_filled_and_large_ones_left():
    ball = trimesh.creation.icosphere(3)
    lost_vertex, lost_cap = ball.vertices[:, 2].argmin(), ball.vertices[:, 2] > 0.9
    faces = ball.faces[~(ball.faces == lost_vertex).any(1) & ~lost_cap[ball.faces].any(1)]
    holed = trimesh.Trimesh(ball.vertices, faces, process=False)
    assert mesh_facts(holed).boundary_loops == 2
    assert mesh_facts(without_holes(holed, 10)).boundary_loops == 1
    filled = without_holes(holed)
    filled.remove_unreferenced_vertices()
    assert_closed_and_manifold(filled)
    assert filled.volume == pytest.approx(ball.volume, rel=0.02)  # a cap of height 0.1 is cut off


def test_a_closed_mesh_has_no_holes_to_fill():
    box = trimesh.creation.box()
    assert np.array_equal(without_holes(box).faces, box.faces)
