"""The adaptive lattice: its leaves fill space without overlap, and its edges know them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from recon.surface.sheets.lattice import CUBE, Lattice, extended, lattice_around, standing


@pytest.fixture
def lattice() -> Lattice:
    """Points of which some ask for cubes eight times as long as others do, next to each other."""
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 0.6, (20, 3))
    return lattice_around(points, rng.choice([0.02, 0.04, 0.16], 20), 0.04, points.min(0) - 0.1)


def _leaf_at(lattice: Lattice, places: np.ndarray) -> np.ndarray:
    """The leaf that holds each place, in steps of the lattice; -1 where there is none."""
    side = (1 << lattice.levels.astype(np.int64))[:, None]
    found = np.full(len(places), -1)
    for n, place in enumerate(places):
        inside = np.flatnonzero(((place > lattice.cells) & (place < lattice.cells + side)).all(-1))
        assert len(inside) <= 1
        found[n] = inside[0] if len(inside) else -1
    return found


def test_sizes_differ_by_one_level_where_leaves_touch(lattice: Lattice):
    side = 1 << lattice.levels.astype(np.int64)
    low, high = lattice.cells, lattice.cells + side[:, None]
    touch = ((low[:, None] <= high) & (low <= high[:, None])).all(2)
    assert len(np.unique(lattice.levels)) > 3
    assert np.abs(np.subtract.outer(lattice.levels, lattice.levels))[touch].max() == 1


def test_edges_know_the_leaves_around_them(lattice: Lattice):
    some = np.arange(0, len(lattice.edges), 11)
    middle = lattice.corners[lattice.edges[some]].mean(1)
    axis = lattice.edge_axis[some]
    one, other = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
    for quadrant, (u, v) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        beside = _leaf_at(lattice, middle + 0.25 * (u * one + v * other))
        np.testing.assert_array_equal(lattice.edge_cells[some, quadrant], beside)


def test_edges_are_the_undivided_sides_of_leaves(lattice: Lattice):
    side = (1 << lattice.levels.astype(np.int64))[:, None]
    corners = {tuple(corner) for corner in (lattice.cells[:, None] + side[:, None] * CUBE).reshape(-1, 3).tolist()}
    assert Counter(map(tuple, lattice.corners.tolist())) == Counter(corners)
    np.testing.assert_array_equal(lattice.corners[lattice.cell_corners], lattice.cells[:, None] + side[:, None] * CUBE)
    sides = set()
    for cell, length in zip(lattice.cells, side.ravel(), strict=True):
        for axis in range(3):
            for corner in CUBE[CUBE[:, axis] == 0]:
                start = cell + length * corner
                middle = start + length // 2 * np.eye(3, dtype=int)[axis]
                if length == 1 or tuple(middle.tolist()) not in corners:
                    sides.add((*start.tolist(), axis, int(length)))
    starts, lengths = lattice.corners[lattice.edges[:, 0]], np.round(lattice.edge_lengths / lattice.step).astype(int)
    found = {(*s, int(a), int(n)) for s, a, n in zip(starts.tolist(), lattice.edge_axis, lengths, strict=True)}
    assert found == sides and len(lattice.edges) == len(sides)
    at_start = lattice.edge_at[lattice.edges[:, 0], lattice.edge_axis]
    np.testing.assert_array_equal(at_start, np.arange(len(lattice.edges)))


def test_an_extended_lattice_has_leaves_where_they_were_missing(lattice: Lattice):
    bare = np.flatnonzero((lattice.edge_cells < 0).any(1))[::7]
    larger = extended(lattice, bare)
    number = standing(larger, lattice)
    kept = np.flatnonzero(number >= 0)
    for n in range(2):
        np.testing.assert_array_equal(
            larger.corners[larger.edges[kept, n]], lattice.corners[lattice.edges[number[kept], n]]
        )
    still = np.isin(number, bare)
    assert still.sum() > 0.9 * len(bare)
    assert bool((larger.edge_cells[still] >= 0).all())
    gone = np.setdiff1d(np.arange(len(lattice.edges)), number)
    ends = {tuple(ends) for ends in larger.corners[larger.edges].reshape(-1, 6).tolist()}
    assert not ends & {tuple(pair) for pair in lattice.corners[lattice.edges[gone]].reshape(-1, 6).tolist()}
