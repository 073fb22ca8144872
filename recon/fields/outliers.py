"""Points that lie on no sheet: alone in empty space, or off the sheets of all their neighbours."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int32
from numba import njit

SPARSE = 3.0  # times the cloud's median spacing
SCATTERED = 0.15  # residuals of a quadric in spacings: a sheet has less, even one sampled sparsely
WITNESSES = 15
AGREEING = 3  # witnesses that have to hold a point for one of theirs
OFF_SHEET = 0.5  # spacings
OFF_NOISE = 3.0  # standard deviations


def scattered(roughness: Float64[np.ndarray, " n"], spacing: Float64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Where points are few and fill space, rather than a surface."""
    return (roughness > SCATTERED) & (spacing > SPARSE * np.median(spacing))


def off_sheets(
    points: Float64[np.ndarray, "n 3"],
    moved: Float64[np.ndarray, "n 3"],
    normals: Float64[np.ndarray, "n 3"],
    neighbours: Int32[np.ndarray, "n k"],
    spacing: Float64[np.ndarray, " n"],
    noise: Float64[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Where fewer than 3 of 15 neighbours have the point near their tangent planes, for that spacing and noise.

    A point on an edge or on a thin part has neighbours on its own side. The planes stand at the `moved` points.
    """
    witnesses = neighbours[:, 1 : 1 + WITNESSES]
    if witnesses.shape[1] < 2 * AGREEING:
        return np.zeros(len(points), bool)
    return _agreeing(points, moved, normals, witnesses, OFF_SHEET * spacing + OFF_NOISE * noise) < AGREEING


@njit(cache=True)
def _agreeing(points, moved, normals, witnesses, tolerance):
    count = np.zeros(len(points), np.int64)
    for i in range(len(points)):
        for j in witnesses[i]:
            offset = 0.0
            for k in range(3):
                offset += normals[j, k] * (points[i, k] - moved[j, k])
            count[i] += abs(offset) <= tolerance[i]
    return count
