"""Dual contouring against bodies with known edges and curvature, and its topology on noise."""

import numpy as np
import pytest
from mesh_assertions import assert_closed_and_manifold
from scipy.spatial.transform import Rotation

from recon.surface.closest import TriangleIndex
from recon.surface.dual_contouring import dual_contouring

TURN = Rotation.from_euler("xyz", [0.4, 0.7, 0.2]).as_matrix()
SURFACE_NETS = 1e3  # a pull that leaves the gradients no say


def cube(points, half=0.6):
    """Signed distance to a turned cube in the maximum norm."""
    return (np.abs(points @ TURN) - half).max(-1)


def sphere(points, radius=0.7):
    return np.linalg.norm(points, axis=-1) - radius


def contour(field, n, **options):
    axis = np.linspace(-1, 1, n)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)

    def gradient(at):
        steps = 1e-6 * np.eye(3)
        return np.stack([(field(at + step) - field(at - step)) / 2e-6 for step in steps], 1)

    h = 2 / (n - 1)
    mesh = dual_contouring(field(points), gradient, spacing=(h, h, h), origin=(-1, -1, -1), **options)
    assert_closed_and_manifold(mesh)
    return mesh, h


@pytest.mark.parametrize("n", [17, 33, 65])
def test_sphere_error_falls_with_the_square_of_the_cell(n):
    mesh, h = contour(sphere, n)
    assert np.abs(sphere(mesh.vertices)).max() < 0.6 * h**2
    assert np.abs(sphere(mesh.triangles_center)).max() < 0.6 * h**2
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.7**3, rel=2 * h**2 / 0.7**2)


@pytest.mark.parametrize("n", [17, 33, 65])
def test_cube_keeps_its_edges(n):
    sharp, h = contour(cube, n)
    round_, _ = contour(cube, n, pull=SURFACE_NETS)
    edges = np.concatenate([np.roll(edge, axis, 1) for axis in range(3) for edge in cube_edges()]) @ TURN.T
    far = [TriangleIndex(np.asarray(mesh.triangles)).closest(edges).distances.mean() for mesh in (sharp, round_)]
    assert far[0] < 0.1 * h
    assert far[0] < far[1] / 5
    assert np.abs(cube(sharp.vertices)).max() < 0.25 * h
    assert 1.2**3 - sharp.volume < (1.2**3 - round_.volume) / 5


def cube_edges():
    """Points along the four edges of the cube that run along x."""
    along = np.linspace(-0.6, 0.6, 100)
    return [np.stack([along, np.full(100, y), np.full(100, z)], 1) for y in (-0.6, 0.6) for z in (-0.6, 0.6)]


def test_box_on_anisotropic_cells_far_from_the_origin():
    low, high = np.array([1.3, 2.1, 3.7]), np.array([6.6, 8.2, 17.9])
    spacing, origin = np.array([1.0, 0.7, 2.5]), np.array([5e5, -4e6, 80.0])
    nodes = np.stack(np.meshgrid(*[np.arange(14)] * 3, indexing="ij"), -1) * spacing

    def field(points):
        return np.maximum(low - points, points - high).max(-1)

    def gradient(points):
        sides = np.concatenate([low - (points - origin), points - origin - high], 1)
        return np.concatenate([-np.eye(3), np.eye(3)])[sides.argmax(1)]

    mesh = dual_contouring(field(nodes), gradient, spacing=tuple(spacing), origin=tuple(origin))
    assert_closed_and_manifold(mesh)
    assert np.abs(mesh.bounds - origin - [low, high]).max() < 1e-6
    assert mesh.apply_translation(-origin).volume == pytest.approx((high - low).prod(), rel=0.03)


@pytest.mark.parametrize("seed", range(30))
def test_manifold_on_noise_with_random_gradients(seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((9, 10, 11)).astype(np.float32)
    values[[0, -1]] = values[:, [0, -1]] = values[:, :, [0, -1]] = 1
    mesh = dual_contouring(values, lambda points: rng.standard_normal(points.shape))
    assert_closed_and_manifold(mesh)
    assert mesh.vertices.min() >= 0
    assert (mesh.vertices.max(0) <= [8, 9, 10]).all()


def test_a_vanishing_gradient_leaves_the_mean_of_the_crossings():
    axis = np.linspace(-1, 1, 17)
    values = sphere(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1))
    without = dual_contouring(values, np.zeros_like)
    nets = dual_contouring(values, lambda points: points - 8, pull=1e6)
    assert np.allclose(without.vertices, nets.vertices, atol=1e-9)


def test_open_where_the_inside_meets_the_border():
    values = np.broadcast_to(np.arange(9.0)[:, None, None] - 4.4, (9, 9, 9))
    mesh = dual_contouring(values, lambda points: np.tile([1.0, 0, 0], (len(points), 1)))
    assert not mesh.is_watertight
    assert np.allclose(mesh.vertices[:, 0], 4.4)
    assert np.allclose(mesh.face_normals, [1, 0, 0])


def test_nothing_inside_gives_an_empty_mesh():
    assert len(dual_contouring(np.ones((4, 4, 4)), np.ones_like).faces) == 0
