"""Points that lie on no sheet: few in empty space, or off the sheets of all their neighbours.

Who is a neighbour of whom tells more than distances do, whatever the density: an outlier has points of a sheet for its
nearest neighbours, but is one of the nearest of none of them (compare Hautamaeki et al. 2004).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int32
from numba import njit

from recon.disjoint_sets import join

SPARSE = 3.0  # times the cloud's median spacing
SCATTERED = 0.15  # residuals of a quadric in spacings: a sheet has less, even one sampled sparsely
FEWEST = 20  # points of a part of the cloud
AGREEING = 3  # points that have to hold one for one of their sheet
OFF_SHEET = 0.5  # spacings
OFF_NOISE = 3.0  # standard deviations


def scattered(roughness: Float64[np.ndarray, " n"], spacing: Float64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Where points are few and fill space, rather than a surface."""
    return (roughness > SCATTERED) & (spacing > SPARSE * np.median(spacing))


def in_company(neighbours: Int32[np.ndarray, "n k"]) -> Bool[np.ndarray, " n"]:
    """Where fewer than 20 points keep to themselves: no two that are neighbours of each other join them to more."""
    root = _roots(neighbours)
    return np.bincount(root, minlength=len(root))[root] < FEWEST


@njit(cache=True)
def _roots(neighbours):
    """For every point the first one of those that it hangs together with, through neighbours of each other."""
    parent = np.arange(len(neighbours))
    for i in range(len(neighbours)):
        for j in neighbours[i, 1:]:
            if j < i and i in neighbours[j]:
                join(parent, i, j)
    for i in range(len(parent)):
        parent[i] = parent[parent[i]]  # which comes first, and has its root
    return parent


def off_sheets(
    points: Float64[np.ndarray, "n 3"],
    moved: Float64[np.ndarray, "n 3"],
    normals: Float64[np.ndarray, "n 3"],
    neighbours: Int32[np.ndarray, "n k"],
    spacing: Float64[np.ndarray, " n"],
    noise: Float64[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Where fewer than 3 points that have this one for a neighbour have it near their tangent planes, for their spacing
    and noise.

    A point on an edge or on a thin part is a neighbour of those on its own side. One far from a sheet has neighbours
    there, and lies in the plane of some, but it is a neighbour of none. The planes stand at the `moved` points.
    """
    if neighbours.shape[1] <= 2 * AGREEING:
        return np.zeros(len(points), bool)
    return _witnesses(points, moved, normals, neighbours, OFF_SHEET * spacing + OFF_NOISE * noise) < AGREEING


@njit(cache=True)
def _witnesses(points, moved, normals, neighbours, tolerance):
    """How many others have each point for a neighbour, within the tolerance of their planes."""
    count = np.zeros(len(points), np.int64)
    for i in range(len(points)):
        for j in neighbours[i, 1:]:
            offset = 0.0
            for k in range(3):
                offset += normals[i, k] * (points[j, k] - moved[i, k])
            count[j] += abs(offset) <= tolerance[i]
    return count
