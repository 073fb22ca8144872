"""What the compact splat formats have in common: opacity in a byte, a rotation by three numbers, an order in space."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int, Shaped, UInt8

SQRT2 = np.float32(np.sqrt(2))

_STEPS = np.clip(np.arange(256.0), 0.25, 254.75)
LOGITS = np.log(_STEPS / (255 - _STEPS)).astype(np.float32)
"""The logit of each byte's opacity. 0 and 255 stand for all that rounds to them: a quarter of a step inside."""


def to_bytes(values: Shaped[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """The nearest bytes."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def smallest_three(
    quaternions: Float32[np.ndarray, "n 4"],
) -> tuple[Int[np.ndarray, "n"], Float32[np.ndarray, "n 3"]]:
    """Which component of each quaternion has the largest magnitude, and the other three in their order, each in
    [-1, 1] / sqrt 2. The signs are those of the quaternion whose largest component is positive: q and -q are one
    rotation."""
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    largest = np.abs(unit).argmax(axis=1)
    is_largest = largest[:, None] == np.arange(4)
    unit *= np.where(unit[is_largest] < 0, -1, 1).astype(np.float32)[:, None]
    return largest, unit[~is_largest].reshape(-1, 3)


def from_smallest_three(
    largest: Int[np.ndarray, "n"], others: Float32[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "n 4"]:
    """The unit quaternions again."""
    is_largest = largest[:, None] == np.arange(4)
    quaternions = np.empty((len(others), 4), np.float32)
    quaternions[~is_largest] = others.ravel()
    quaternions[is_largest] = np.sqrt(np.maximum(0, 1 - np.square(others).sum(axis=1)))
    return quaternions


def morton_order(points: Float32[np.ndarray, "n 3"]) -> Int[np.ndarray, "n"]:
    """The order along a Z-shaped curve through a lattice of 2^21 cells a side: points near in it are near in space."""
    low = points.min(axis=0).astype(np.float64)
    side = (points.max(axis=0) - low).max() or 1.0
    cells = np.minimum((points - low) / side * (1 << 21), (1 << 21) - 1).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    for axis in range(3):
        code |= _with_gaps(cells[:, axis]) << np.uint64(axis)
    return np.argsort(code, kind="stable")


def _with_gaps(numbers: Shaped[np.ndarray, "n"]) -> Shaped[np.ndarray, "n"]:
    """The 21 bits of each number with two zeros between neighbours, by doubling the gaps of ever smaller groups."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        numbers = (numbers | numbers << np.uint64(shift)) & np.uint64(mask)
    return numbers
