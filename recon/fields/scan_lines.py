"""Clouds in lines: points that a scanner set close along its lines, which stand far apart, or that follow contours.

Sheets are found from the nearest neighbours of every point. Where these all lie on its own line they say nothing about
the sheet between lines, neither which way it faces nor that it is there. So points are taken out of lines until they
stand about half as far apart along them as the lines do. What is lost is detail along a line that is finer than
anything known across it.

Lines show in two ways, both by medians over a neighbourhood, of which most has to stand in lines too:

1. *Gaps.* In the plane of its neighbours a point looks in every direction, for the nearest neighbour within 34 degrees
   ahead or behind, whichever is nearer; of these distances the greatest is the gap. Beside a border or a hole there are
   neighbours on one side, and the gap is no greater than elsewhere; where there are none on either side, it is at least
   as far as the neighbours reach. Random points have gaps of 1.3 spacings, rarely of 2; lines that are six times as
   far apart as their points have 2.4.
2. *Dimension.* sqrt(area per point) of a disc with k points is the same for all k on a sheet, and grows as sqrt(k) on a
   line or around places that were measured many times: twofold from 8 to 32.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64, Int32, Int64
from numba import njit

from recon.fields.neighbourhoods import local_spacing, median_over, nearest, nearest_left
from recon.fields.quadrics import principal_axes, tangents

SIZE = 32  # neighbours that gaps are seen in
WIDEST = 2.4  # spacings: greater gaps are between lines
OF_THE_GAP = 0.4  # is how far apart points along a line are left, at least
CROWDED = 1.7  # times the spacing: that of the wider disc shows a line
OF_THE_WIDER = 0.8  # spacing is how far apart points are left then
COMPANY = 0.5  # of the neighbours stand in lines as well
DIRECTIONS = 8  # of half a turn
SLANT = math.tan(1.5 * math.pi / DIRECTIONS)  # of what is seen in a direction, at most: 34 degrees
ROUNDS = 4
MERE_FEW = 0.99  # kept: what is left stands as it stood


def without_crowded_lines(
    points: Float64[np.ndarray, "n 3"],
) -> tuple[Int64[np.ndarray, " m"], Int32[np.ndarray, "m k"]]:
    """Indices of the points that are kept, ascending, and the nearest 32 neighbours of each among them (or all)."""
    kept = np.arange(len(points))
    neighbours = nearest(points, SIZE)
    for _ in range(ROUNDS):
        apart = _wanted_distance(points[kept], neighbours)
        if not apart.any():
            break
        left = _thinned(points[kept], neighbours, apart)
        neighbours = nearest_left(points[kept], neighbours, left, SIZE)
        kept = kept[left]
        if left.mean() > MERE_FEW:
            break
    return kept, neighbours


def _wanted_distance(
    points: Float64[np.ndarray, "n 3"], neighbours: Int32[np.ndarray, "n k"]
) -> Float64[np.ndarray, " n"]:
    """How far from others the points of lines should stand; 0 for all other points."""
    axes = principal_axes(points, neighbours, np.full(len(points), neighbours.shape[1]))
    gap = median_over(_gaps(points, neighbours, *tangents(axes)), neighbours)
    spacing, wider = (
        median_over(found, neighbours)
        for found in (local_spacing(points, neighbours), local_spacing(points, neighbours, SIZE - 1))
    )
    by_gap = np.where(gap > WIDEST * spacing, OF_THE_GAP * gap, 0.0)
    wanted = np.where(wider > CROWDED * spacing, np.maximum(by_gap, OF_THE_WIDER * wider), by_gap)
    return np.where((wanted > 0)[neighbours].mean(1) > COMPANY, wanted, 0.0)


@njit(cache=True)
def _gaps(points, neighbours, along, across):
    """The gap at each point."""
    gaps = np.zeros(len(points))
    turns = math.pi / DIRECTIONS * np.arange(DIRECTIONS)
    cosine, sine = np.cos(turns), np.sin(turns)
    for i in range(len(points)):
        seen = np.full((DIRECTIONS, 2), np.inf)
        farthest = 0.0
        for j in neighbours[i, 1:]:
            u = v = 0.0
            for k in range(3):
                step = points[j, k] - points[i, k]
                u += step * along[i, k]
                v += step * across[i, k]
            distance = math.sqrt(u * u + v * v)
            farthest = max(farthest, distance)
            for d in range(DIRECTIONS):
                ahead = u * cosine[d] + v * sine[d]
                aside = v * cosine[d] - u * sine[d]
                if abs(aside) <= SLANT * abs(ahead):
                    side = 0 if ahead > 0 else 1
                    seen[d, side] = min(seen[d, side], distance)
        for d in range(DIRECTIONS):
            gaps[i] = max(gaps[i], min(seen[d, 0], seen[d, 1], farthest))
    return gaps


@njit(cache=True)
def _thinned(points, neighbours, apart):
    """Whether each point is kept: one after the other, unless a kept neighbour before it is nearer than wanted."""
    kept = np.ones(len(points), np.bool_)
    for i in range(len(points)):
        for j in neighbours[i, 1:]:
            if kept[i] and kept[j] and j < i and apart[i] > 0:
                square = 0.0
                for k in range(3):
                    square += (points[i, k] - points[j, k]) ** 2
                kept[i] = square >= apart[i] ** 2
    return kept
