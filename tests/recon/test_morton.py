"""Morton's order against bits that are put in turn one by one."""

from __future__ import annotations

import numpy as np

from recon.morton import BITS, morton_codes, morton_order


def test_codes_have_the_bits_of_the_cells_in_turn() -> None:
    most = 2**BITS - 1
    cells = np.random.default_rng(3).integers(0, most + 1, (200, 3))
    cells[0], cells[1] = 0, most
    expected = [
        sum((int(cell[axis]) >> k & 1) << 3 * k + axis for k in range(BITS) for axis in range(3)) for cell in cells
    ]
    np.testing.assert_array_equal(morton_codes(cells * 2.0 - 7), np.array(expected, np.uint64))


def test_neighbours_along_the_order_are_near() -> None:
    points = np.random.default_rng(4).random((4000, 3)).astype(np.float32)
    ordered = points[morton_order(points)]
    steps = np.linalg.norm(np.diff(ordered, axis=0), axis=1)
    assert np.median(steps) < 0.1  # 0.66 apart in the mean, in no order
    assert sorted(morton_order(points)) == list(range(4000))


def test_points_in_one_place_keep_their_order() -> None:
    np.testing.assert_array_equal(morton_order(np.ones((5, 3))), range(5))
