"""Morton's order: along a Z-shaped curve through a lattice, neighbours in which are mostly neighbours in space.

A point's code has the bits of its cell's three indices in turn, from the highest down.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64, UInt64

BITS = 20  # of each index


def morton_order(points: Float[np.ndarray, "n 3"]) -> Int64[np.ndarray, " n"]:
    """Indices of the points along the curve; those of one cell keep their order."""
    return np.argsort(morton_codes(points), kind="stable")


def morton_codes(points: Float[np.ndarray, "n 3"]) -> UInt64[np.ndarray, " n"]:
    """Where on the curve through the points' bounding cube each of them is."""
    low = points.min(axis=0).astype(np.float64)
    side = (points.max(axis=0) - low).max() or 1.0
    cells = ((points - low) * ((2**BITS - 1) / side)).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    for axis in range(3):
        code |= _with_gaps(cells[:, axis]) << np.uint64(axis)
    return code


def _with_gaps(numbers: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Bit k of numbers of at most 21 bits at 3 k, by doubling the gaps between ever smaller groups of bits."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        numbers = (numbers | numbers << np.uint64(shift)) & np.uint64(mask)
    return numbers
