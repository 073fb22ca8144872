"""Who owns which part of a plane, against areas worked out by hand."""

import numpy as np
import pytest

from recon.regions import even_odd_region, owned_regions, triangulated
from recon.slices import Plane, Ring

XY = np.eye(3)[:2]


def square(side: float, center: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    return side / 2 * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]) + center


def test_even_odd_filling_leaves_holes_and_fills_islands():
    vertices, faces = triangulated(even_odd_region([square(4), square(2)[::-1], square(1)]))
    ab, ac = vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    areas = (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]) / 2
    assert (areas > 0).all()
    assert areas.sum() == pytest.approx(16 - 4 + 1)


def test_in_a_partition_the_innermost_ring_owns_the_region():
    rings = (
        Ring(square(10), 1),
        Ring(square(4), 1, hole=True),
        Ring(square(4), 2),  # fills the hole to its edge
        Ring(square(1), 1),
        Ring(square(2, (-4, 0)), 2),
    )
    regions = owned_regions(Plane(np.zeros(3), XY, rings), partition=True, unit=5.0)
    assert {label: 25 * region.area() for label, region in regions.items()} == pytest.approx(
        {1: 100 - 16 + 1 - 4, 2: 16 - 1 + 4}
    )


def test_without_a_partition_labels_overlap():
    plane = Plane(np.zeros(3), XY, (Ring(square(10), 1), Ring(square(4), 2), Ring(square(2), 2, hole=True)))
    regions = owned_regions(plane, partition=False)
    assert {label: region.area() for label, region in regions.items()} == pytest.approx({1: 100, 2: 12})
