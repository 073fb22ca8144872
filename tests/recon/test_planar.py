"""Outlines of labels: which rings bound them, and which side is inside."""

from __future__ import annotations

import numpy as np
import pytest

from recon.inputs import CrossSections
from recon.planar import distance_to_segments, inside_at, inside_on_lattice, outlines, samples
from recon.slices import BACKGROUND, Label, Plane, Ring


def square(half: float, label: int, hole: bool = False, center: tuple[float, float] = (0, 0)) -> Ring:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    return Ring(half * corners + np.array(center), label, hole)


def sections(*rings: Ring, partition: bool = True) -> CrossSections:
    labels = tuple(Label(i, f"l{i}", (1, 0, 0)) for i in sorted({ring.label for ring in rings}))
    return CrossSections(labels, (Plane(np.zeros(3), np.eye(3)[:2], rings),), partition=partition)


def inside(of: CrossSections, label: int, *points: tuple[float, float]) -> list[bool]:
    return inside_at(np.array(points, float), outlines(of, label)[0].segments).tolist()


def test_an_island_in_a_hole_is_inside_again():
    of = sections(square(3, 1), square(2, 1, hole=True), square(1, 1))
    assert inside(of, 1, (2.5, 0), (1.5, 0), (0.5, 0), (4, 0)) == [True, False, True, False]


def test_a_label_nested_in_another_takes_its_place():
    of = sections(square(3, 1), square(1, 2))
    assert inside(of, 1, (2, 0), (0, 0)) == [True, False]
    assert inside(of, 2, (2, 0), (0, 0)) == [False, True]
    assert inside(of, BACKGROUND, (2, 0), (0, 0), (5, 0)) == [True, True, False]


@pytest.mark.parametrize("jitter", [0.0, 1e-3, -1e-3])
def test_a_ring_that_fills_a_hole_decides(jitter):
    of = sections(square(3, 1), square(1 + jitter, 1, hole=True), square(1, 2))
    assert inside(of, 2, (0, 0), (2, 0)) == [True, False]
    assert inside(of, 1, (0, 0), (2, 0)) == [False, True]


def test_overlapping_regions_keep_their_own_rings():
    of = sections(square(3, 1), square(1, 2), partition=False)
    assert inside(of, 1, (0, 0), (2, 0)) == [True, True]
    assert inside(of, 2, (0, 0), (2, 0)) == [True, False]


def test_a_silent_plane_gives_no_outline_and_an_empty_one_an_empty_outline():
    spoken = Plane(np.zeros(3), np.eye(3)[:2], (square(1, 1),))
    silent = Plane(np.array([0, 0, 1.0]), np.eye(3)[:2], silent_about=frozenset({1}))
    empty = Plane(np.array([0, 0, 2.0]), np.eye(3)[:2])
    found = outlines(CrossSections((Label(1, "a", (1, 0, 0)),), (spoken, silent, empty)), 1)
    assert [len(outline.segments) for outline in found] == [4, 0]


def test_the_lattice_agrees_with_the_ray_test_at_every_node():
    rng = np.random.default_rng(2)
    star = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 40, endpoint=False)])
    star *= rng.uniform(0.3, 1.0, (40, 1))
    segments = np.stack([star, np.roll(star, -1, axis=0)], axis=1)
    lattice = inside_on_lattice(segments, (-1.13, -1.07), 0.061, (37, 35))
    u, v = -1.13 + 0.061 * np.arange(37), -1.07 + 0.061 * np.arange(35)
    nodes = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
    assert 100 < lattice.sum() < 1000
    np.testing.assert_array_equal(lattice.ravel(), inside_at(nodes, segments))


def test_samples_cover_the_outline_and_lie_on_it():
    outline = outlines(sections(square(1, 1)), 1)[0]
    points, length, segment = samples(outline, 0.1)
    assert length.sum() == pytest.approx(8.0)
    assert np.abs(distance_to_segments(points, outline.segments_3d[segment])).max() < 1e-12
    assert np.linalg.norm(np.diff(points[:20], axis=0), axis=1).max() <= 0.1 + 1e-12
