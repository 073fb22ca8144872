"""The isosurface against analytic bodies and another library, and its topology on fields made to break it."""

import numpy as np
import pytest
from mesh_assertions import assert_closed_and_manifold

from recon.surface.marching import isosurface


def lattice(n, low=-1.0, high=1.0):
    axis = np.linspace(low, high, n)
    return np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)


def with_outer_border(values):
    values = values.copy()
    values[[0, -1]] = 1
    values[:, [0, -1]] = 1
    values[:, :, [0, -1]] = 1
    return values


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sphere_is_accurate_and_faces_outward(dtype):
    x, y, z = lattice(41)
    values = (np.sqrt(x**2 + y**2 + z**2) - 0.7).astype(dtype)
    mesh = isosurface(values, spacing=(0.05, 0.05, 0.05), origin=(-1, -1, -1))
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert np.abs(radius - 0.7).max() < 0.05**2 / 8 / 0.5  # linear interpolation: h^2 / 8 times the second derivative
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.7**3, rel=5e-3)
    assert mesh.volume > 0
    assert mesh.euler_number == 2
    assert_closed_and_manifold(mesh)


def test_torus_has_one_handle():
    x, y, z = lattice(33)
    mesh = isosurface(np.hypot(np.hypot(x, y) - 0.6, z) - 0.25)
    assert mesh.euler_number == 0
    assert_closed_and_manifold(mesh)


def test_anisotropic_spacing_and_a_far_origin_keep_precision():
    x, y, z = lattice(33)
    values = (np.sqrt(x**2 + y**2 + z**2) - 0.7).astype(np.float32)
    origin = np.array([4.3e6, -5e5, 1e3])
    mesh = isosurface(values, spacing=(1 / 16, 2 / 16, 3 / 16), origin=tuple(origin))
    radius = np.linalg.norm((mesh.vertices - origin) / [1, 2, 3] - 1, axis=1)
    assert np.abs(radius - 0.7).max() < 1e-3


@pytest.mark.parametrize("seed", range(20))
def test_manifold_on_noise(seed):
    """Noise meets all 256 patterns and every pair of ambiguous neighbours."""
    noise = np.random.default_rng(seed).standard_normal((12, 13, 14)).astype(np.float32)
    assert_closed_and_manifold(isosurface(with_outer_border(noise)))


@pytest.mark.parametrize("seed", range(20))
def test_manifold_and_without_coincident_vertices_where_nodes_lie_on_the_surface(seed):
    whole_numbers = np.random.default_rng(seed).integers(-2, 3, (10, 10, 10)).astype(np.float32)
    mesh = isosurface(with_outer_border(whole_numbers))
    assert_closed_and_manifold(mesh)
    rounded = mesh.vertices.astype(np.float32)
    assert len(np.unique(rounded, axis=0)) == len(rounded)
    assert mesh.area_faces.min() > 0


def test_same_vertices_and_volume_as_pymcubes():
    mcubes = pytest.importorskip("mcubes")
    x, y, z = lattice(30)
    values = np.sin(5 * x) * np.cos(4 * y) + np.sin(6 * z) * np.cos(5 * x) + 3 * (x**2 + y**2 + z**2) - 1.1
    mesh = isosurface(values)
    vertices, faces = mcubes.marching_cubes(values, 0.0)
    ours, theirs = (v[np.lexsort(v.T.round(9))] for v in (np.asarray(mesh.vertices), vertices))
    assert np.abs(ours - theirs).max() < 2e-3
    import trimesh

    assert mesh.volume == pytest.approx(-trimesh.Trimesh(vertices, faces, process=False).volume, rel=1e-3)


def test_inside_corners_of_an_ambiguous_face_stay_joined():
    values = np.ones((4, 4, 3))
    values[1, 1, 1] = values[2, 2, 1] = -1
    assert isosurface(values).body_count == 1


def test_open_where_the_inside_meets_the_border():
    x, _, _ = lattice(9)
    mesh = isosurface(np.broadcast_to(x - 0.1, (9, 9, 9)))
    assert not mesh.is_watertight
    assert mesh.area == pytest.approx(64)
    assert np.allclose(mesh.face_normals, [1, 0, 0])


def test_nothing_inside_gives_an_empty_mesh():
    assert len(isosurface(np.ones((4, 4, 4))).faces) == 0
