"""Joint surfaces of label maps: each label closed and manifold on random maps, neighbours sharing every face."""

import numpy as np
import pytest
from mesh_assertions import assert_closed_and_manifold

from recon.surface.dual_cells import dual_mesh
from recon.surface.label_surfaces import label_surfaces


def random_labels(seed):
    """2 to 4 labels (background included) in 6^3 to 12^3 voxels, from pure noise to clumps."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(6, 13, 3)
    labels = rng.integers(0, rng.integers(2, 5), shape).astype(np.uint16)
    for _ in range(rng.integers(0, 4) * 40):
        corner, size = rng.integers(0, shape), rng.integers(1, 4, 3)
        labels[tuple(map(slice, corner, corner + size))] = rng.integers(0, labels.max() + 1)
    return labels


def ball(radius, size, center):
    axis = np.arange(size)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    return np.sqrt((x - center) ** 2 + (y - center) ** 2 + (z - center) ** 2) - radius


def normal_errors(mesh, center):
    """Angles in degrees between the faces' normals and the directions from the centre, and the faces' areas."""
    outward = mesh.triangles_center - center
    cosine = (mesh.face_normals * outward).sum(1) / np.linalg.norm(outward, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1))), mesh.area_faces


@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in range(0, 300, 25)], ids=lambda r: f"{r.start}")
def test_every_label_is_closed_and_manifold(seeds):
    for seed in seeds:
        labels = random_labels(seed)
        surfaces = label_surfaces(labels)
        for label in np.unique(labels):
            assert_closed_and_manifold(surfaces.of(label))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_every_face_belongs_to_two_labels_that_see_it_from_opposite_sides(seed, smooth):
    labels = random_labels(seed)
    surfaces = label_surfaces(labels, smooth=smooth)
    meshes = [surfaces.of(label) for label in np.unique(labels)]
    _, joint = np.unique(np.concatenate([mesh.vertices for mesh in meshes]), axis=0, return_inverse=True)
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = np.concatenate([joint[mesh.faces + start] for mesh, start in zip(meshes, offsets[:-1], strict=True)])
    faces = np.array([np.roll(face, -face.argmin()) for face in faces])
    seen = {tuple(face) for face in faces}
    assert all((a, c, b) in seen for a, b, c in seen)
    background = meshes[0].volume
    assert background < 0, "the background is seen from inside"
    assert sum(mesh.volume for mesh in meshes[1:]) == pytest.approx(-background, rel=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_two_labels_never_touch_themselves(seed):
    """With one label and background the sheets of a cell have vertices of their own, which merging cannot join."""
    labels = (random_labels(seed) % 2).astype(np.uint16)
    assert len(dual_mesh(np.pad(labels, 1)).splits) == 0
    mesh = label_surfaces(labels).of(1)
    assert len(np.unique(mesh.vertices.round(6), axis=0)) == len(mesh.vertices)


def test_every_pattern_of_a_cell_alone():
    """Voxels that share a face are one body; those that share no more than an edge may be, at most a corner not."""
    from scipy.ndimage import generate_binary_structure
    from scipy.ndimage import label as connected_parts

    for pattern in range(1, 256):
        cell = (pattern >> np.arange(8) & 1).reshape(2, 2, 2).astype(np.uint16)
        mesh = label_surfaces(cell).of(1)
        assert_closed_and_manifold(mesh)
        most, fewest = (connected_parts(cell, generate_binary_structure(3, rank))[1] for rank in (1, 2))
        assert fewest <= mesh.body_count <= most


def test_a_label_passes_between_two_others():
    """Columns 1 2 / 3 1 side by side: label 1 is one piece and parts 2 from 3."""
    labels = np.zeros((2, 2, 3), np.uint16)
    labels[0, 0], labels[1, 1], labels[0, 1], labels[1, 0] = 1, 1, 2, 3
    surfaces = label_surfaces(labels)
    assert surfaces.of(1).body_count == 1
    shared = set(map(tuple, surfaces.of(2).vertices)) & set(map(tuple, surfaces.of(3).vertices))
    assert not [vertex for vertex in shared if 0 < vertex[2] < 2]


def test_a_box_of_voxels_is_a_box_with_its_edges_cut():
    """The vertex in an edge's cell is the mean of two crossings of each side, 1/4 away from both: that cuts 1/4 of a
    square voxel off each of the 12 edges, over a length between 4 and 5."""
    labels = np.zeros((9, 9, 9), np.uint16)
    labels[2:7, 2:7, 2:7] = 3
    mesh = label_surfaces(labels).of(3)
    assert np.allclose(mesh.bounds, [[1.5] * 3, [6.5] * 3])
    assert 125 - 12 * 5 / 4 < mesh.volume < 125 - 12 * 4 / 4
    assert mesh.euler_number == 2


def test_labels_at_the_border_close_half_a_voxel_outside():
    mesh = label_surfaces(np.full((4, 5, 6), 9, np.uint16)).of(9)
    assert mesh.is_watertight
    assert np.allclose(mesh.bounds, [[-0.5] * 3, [3.5, 4.5, 5.5]])


def test_crossings_put_the_surface_where_the_field_says():
    distance = ball(12.3, 32, 15.6)
    labels = (distance < 0).astype(np.uint16)
    crossings = []
    for axis in range(3):
        here = distance.take(range(31), axis)
        there = distance.take(range(1, 32), axis)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossings.append((here / (here - there)).astype(np.float32))
    mesh = label_surfaces(labels, tuple(crossings)).of(1)
    radius = np.linalg.norm(mesh.vertices - 15.6, axis=1)
    assert np.abs(radius - 12.3).max() < 1 / 12.3  # the mean of points on the sphere lies within h^2 / R below it
    stairs = label_surfaces(labels).of(1)
    assert normal_errors(mesh, 15.6)[0].mean() < normal_errors(stairs, 15.6)[0].mean() / 5


@pytest.mark.parametrize("mirror", [1, -1])
def test_affine_places_the_mesh_and_keeps_it_facing_outward(mirror):
    labels = (ball(6, 16, 7.5) < 0).astype(np.uint16)
    affine = np.array([[0, 0, 2.5 * mirror, 100], [0.7, 0, 0, -3e6], [0, 0.7, 0, 7], [0, 0, 0, 1.0]])
    plain, placed = label_surfaces(labels).of(1), label_surfaces(labels, affine=affine).of(1)
    expected = plain.vertices @ affine[:3, :3].T + affine[:3, 3]
    assert np.allclose(placed.vertices, expected, atol=1e-6)
    assert placed.volume == pytest.approx(plain.volume * 2.5 * 0.7 * 0.7, rel=2e-3)  # quads may be cut the other way


@pytest.mark.parametrize("radius", [5.3, 20.3])
def test_smoothing_takes_the_stairs_and_keeps_the_volume(radius):
    size = int(2 * radius) + 6
    distance = ball(radius, size, size / 2 - 0.3)
    labels = (distance < 0).astype(np.uint16)
    raw, smooth = (label_surfaces(labels, smooth=smooth).of(1) for smooth in (False, True))
    raw_error, smooth_error = (
        np.average(a, weights=w) for a, w in (normal_errors(m, size / 2 - 0.3) for m in (raw, smooth))
    )
    assert smooth_error < raw_error / 2
    assert smooth.volume == pytest.approx(raw.volume, rel=0.02)
    assert np.abs(smooth.vertices - raw.vertices).max() <= 0.2 + 1e-9
    raw_off, smooth_off = (np.std(np.linalg.norm(m.vertices - (size / 2 - 0.3), axis=1)) for m in (raw, smooth))
    assert smooth_off < 0.7 * raw_off


def test_smoothing_moves_a_seam_along_itself_only():
    """A ball cut in two labels by a plane: the cut stays flat and its rim stays on the ball."""
    labels = (ball(14.3, 36, 17.6) < 0).astype(np.uint16)
    labels[18:] *= 2
    surfaces = label_surfaces(labels, smooth=True)
    one, two = surfaces.of(1), surfaces.of(2)
    shared = np.array(sorted(set(map(tuple, one.vertices)) & set(map(tuple, two.vertices))))
    assert np.abs(shared[:, 0] - 17.5).max() < 0.1
    rim = np.linalg.norm(shared - 17.6, axis=1).max()
    assert rim == pytest.approx(14.3, abs=0.5)


def test_a_single_voxel_survives_smoothing():
    labels = np.zeros((5, 5, 5), np.uint16)
    labels[2, 2, 2] = 1
    mesh = label_surfaces(labels, smooth=True).of(1)
    assert_closed_and_manifold(mesh)
    assert mesh.volume > 0


def test_a_label_without_voxels_is_empty():
    assert len(label_surfaces(np.zeros((3, 3, 3), np.uint16)).of(4).faces) == 0
