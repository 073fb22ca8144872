"""The solver against a dense minimum of the same energy, and closest points against a tree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from recon.fields.closest import ClosestPoints
from recon.fields.least_bending import Lattice, Rows, refine, solve, zero_crossings


def dense_minimum(border, lattice, points, weight, values, bending, twist):
    """The minimum of E by dense linear algebra over the nodes inside the border."""
    shape = lattice.shape
    index = np.arange(np.prod(shape)).reshape(shape)
    inner = index[1:-1, 1:-1, 1:-1].ravel()
    laplacian = np.zeros((index.size, index.size))
    for i, j, k in np.ndindex(*(n - 2 for n in shape)):
        row = index[i + 1, j + 1, k + 1]
        laplacian[row, row] = -6
        for axis in range(3):
            for side in (-1, 1):
                at = [i + 1, j + 1, k + 1]
                at[axis] += side
                laplacian[row, index[tuple(at)]] = 1
    weights = np.zeros((len(points), index.size))
    for n, point in enumerate((points - lattice.origin) / lattice.step):
        cell = np.floor(point).astype(int)
        for corner in np.ndindex(2, 2, 2):
            share = np.prod(np.abs(1 - np.array(corner) - (point - cell)))
            weights[n, index[tuple(cell + corner)]] += share
    system = (
        weights.T @ np.diag(weight) @ weights
        + bending * laplacian @ laplacian
        - twist * laplacian @ laplacian @ laplacian
    )
    right = weights.T @ (weight * values)
    field = border.astype(float).ravel()
    outer = np.setdiff1d(index, inner)
    field[inner] = np.linalg.solve(system[np.ix_(inner, inner)], (right - system[:, outer] @ field[outer])[inner])
    return field.reshape(shape)


def test_the_field_minimises_the_energy():
    rng = np.random.default_rng(0)
    lattice = Lattice(np.array([-1.0, 0, 2]), 0.25, (9, 8, 7))
    points = lattice.origin + 0.25 * rng.uniform(0.2, 1, (60, 3)) * (np.array(lattice.shape) - 1.5)
    weight, values = rng.uniform(0.5, 3, 60), rng.normal(size=60)
    border = rng.normal(size=lattice.shape).astype(np.float32)
    border[1:-1, 1:-1, 1:-1] = 0
    rows = Rows.at(points, weight, lattice)
    field = solve(border, rows, values.astype(np.float32), 0.02, 0.01, 500, tolerance=1e-7)
    expected = dense_minimum(border, lattice, points, weight, values, 0.02, 0.01)
    np.testing.assert_allclose(field, expected, atol=2e-4)


def test_refinement_is_exact_for_what_is_linear_and_keeps_the_nodes():
    nodes = Lattice(np.zeros(3), 1.0, (5, 4, 6)).nodes()
    linear = (nodes @ [1.0, -2.0, 0.5] + 3).reshape(5, 4, 6).astype(np.float32)
    finer = Lattice(np.zeros(3), 1.0, (5, 4, 6)).refined()
    np.testing.assert_allclose(refine(linear).ravel(), finer.nodes() @ [1.0, -2.0, 0.5] + 3, atol=1e-5)


def test_zero_crossings_of_a_plane_lie_on_it():
    lattice = Lattice(np.array([-1.0, -1, -1]), 0.2, (11, 11, 11))
    normal = np.array([1.0, 2, -0.5])
    field = (lattice.nodes() @ normal - 0.1).reshape(lattice.shape).astype(np.float32)
    points = zero_crossings(field, lattice)
    assert len(points) > 100
    assert np.abs(points @ normal - 0.1).max() < 1e-5


def test_closest_points_are_as_close_as_a_tree_finds():
    rng = np.random.default_rng(1)
    lattice = Lattice(np.array([0.0, 1, -2]), 0.1, (30, 25, 28))
    points = lattice.origin + rng.random((300, 3)) * (lattice.end - lattice.origin)
    queries = lattice.origin + rng.random((2000, 3)) * (lattice.end - lattice.origin)
    closest = ClosestPoints(points, lattice)
    exact = cKDTree(points).query(queries)[0]
    found = np.linalg.norm(points[closest.of(queries)] - queries, axis=1)
    assert (found >= exact - 1e-6).all()
    assert np.mean(found > exact + 1e-6) < 0.02
    assert (found - exact).max() < 0.5 * lattice.step
    np.testing.assert_allclose(
        closest.distance_at_nodes().ravel(), cKDTree(points).query(lattice.nodes())[0], atol=0.3 * lattice.step
    )
    assert closest.distance_at_nodes().dtype == np.float32 and pytest.approx(0.1) == lattice.step
