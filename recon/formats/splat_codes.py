"""What the compact splat formats have in common: opacity in a byte, and a rotation by three numbers."""

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
