"""Simplification of topology on voxel solids of known Betti numbers."""

from __future__ import annotations

import numpy as np
from skimage.measure import euler_number

from recon.fields.topology import _euler_number, simplifications

NOWHERE = np.zeros((30, 30, 30), bool)
GRID = np.stack(np.meshgrid(*(np.arange(30.0),) * 3, indexing="ij"), axis=-1)


def ball(center, radius):
    return (np.linalg.norm(GRID - center, axis=-1) - radius).astype(np.float32)


def torus(hole):
    """A ring around the axis z; its hole has that radius."""
    x, y, z = np.moveaxis(GRID - 14.5, -1, 0)
    return (np.hypot(np.hypot(x, y) - hole - 4, z) - 4).astype(np.float32)


def test_the_euler_number_is_that_of_another_library():
    rng = np.random.default_rng(0)
    for seed in range(5):
        solid = rng.random((12, 11, 10)) < 0.3 + 0.1 * seed
        assert _euler_number(solid) == euler_number(solid, connectivity=3)


def test_a_shallow_tunnel_is_filled_and_a_deep_one_stays():
    for hole, filled in ((1.0, True), (4.0, False)):
        fills, cuts = simplifications(torus(hole), NOWHERE, NOWHERE, (0.5, 1.0, 2.0))
        assert euler_number((torus(hole) < 0) | fills, connectivity=3) == (1 if filled else 0)
        assert not cuts.any()


def test_a_tunnel_that_is_known_to_be_outside_stays():
    shown = NOWHERE.copy()
    shown[:, :, 10:20] = torus(1.0)[:, :, 10:20] > 0
    shallow = (0.5, 1.0, 2.0)
    assert (
        euler_number((torus(1.0) < 0) | simplifications(torus(1.0), NOWHERE, NOWHERE, shallow)[0], connectivity=3) == 1
    )
    assert not simplifications(torus(1.0), NOWHERE, shown, shallow)[0].any()


def test_parts_with_a_shallow_gap_are_joined_once():
    two = np.minimum(ball([14, 14, 8], 5.2), ball([14, 14, 20], 5.2))
    fills, _ = simplifications(two, NOWHERE, NOWHERE, (0.5, 1.0, 2.0))
    assert fills.any() and euler_number((two < 0) | fills, connectivity=3) == 1
    apart = np.minimum(ball([14, 14, 6], 3.0), ball([14, 14, 22], 3.0))
    assert not simplifications(apart, NOWHERE, NOWHERE, (0.5, 1.0, 2.0))[0].any()


def test_a_thin_handle_is_cut_and_a_neck_is_not():
    x, y, z = np.moveaxis(GRID - 14.5, -1, 0)
    arch = np.hypot(np.hypot(x, z) - 9, y) - 1.2  # a thin ring, half of it inside the block below
    loop = np.minimum(arch, np.maximum(np.maximum(np.abs(x), np.abs(y)) - 11, z)).astype(np.float32)
    assert euler_number(loop < 0, connectivity=3) == 0
    fills, cuts = simplifications(loop, NOWHERE, NOWHERE, (0.4, 0.8, 1.3))
    assert cuts.any() and euler_number(((loop < 0) | fills) & ~cuts, connectivity=3) == 1
    neck = np.minimum(ball([14.5, 14.5, 7], 5), ball([14.5, 14.5, 22], 5))
    neck = np.where(np.abs(z) < 8, np.minimum(neck, np.hypot(x, y) - 1.2), neck).astype(np.float32)
    assert euler_number(neck < 0, connectivity=3) == 1
    assert not simplifications(neck, NOWHERE, NOWHERE, (0.4, 0.8, 1.3))[1].any()
