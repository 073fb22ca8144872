"""More samples of the same sheets: spread evenly over their mesh, then moved onto the smooth surface of the samples.

Evenly means blue noise by elimination (Yuksel, Sample Elimination for Generating Poisson Disk Sample Sets, 2015): of
several times as many area-uniform samples the most crowded go, round by round, until the wanted number is left. A
sample is crowded by each other at distance d < 2 r with (1 - d / 2 r)^8, where r is the largest radius at which that
many discs fit on the area.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial import KDTree

from recon.fields.local_fits import Sheets
from recon.fields.projection import project
from recon.fields.sheet_field import SheetField

if TYPE_CHECKING:
    import trimesh

OVERSAMPLING = 3


class Samples(NamedTuple):
    """Points (m, 3) of sheets and their unit normals (m, 3), of arbitrary sign."""

    points: Float64[np.ndarray, "m 3"]
    normals: Float64[np.ndarray, "m 3"]


def upsample(sheets: Sheets, mesh: trimesh.Trimesh, factor: float, generator: np.random.Generator) -> Samples:
    """`factor` times as many samples as the sheets have, evenly spread over the mesh that was made of them.

    Raises:
        ValueError: the factor leaves no sample, or the mesh has no area.
    """
    count = round(factor * len(sheets.points))
    if count < 1:
        raise ValueError(f"a factor of {factor} leaves no sample of {len(sheets.points)} points")
    triangles = np.asarray(mesh.triangles, np.float64)
    areas = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1) / 2
    if not areas.sum() > 0:
        raise ValueError("the mesh to sample has no area")
    samples = _area_uniform(triangles, areas, OVERSAMPLING * count, generator)
    samples = samples[_least_crowded(samples, count, areas.sum())]
    local = SheetField.of(sheets).at(samples)
    return Samples(*project(sheets, local.foot, local.axis))


def _area_uniform(triangles, areas, count, generator):
    """Points uniform over the triangles' area; one number picks the triangle, stratified, two the place in it."""
    ends = np.cumsum(areas)
    strata = (np.arange(count) + generator.random(count)) / count
    corners = triangles[np.minimum(np.searchsorted(ends, strata * ends[-1]), len(ends) - 1)]
    u, v = generator.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return corners[:, 0] + u * (corners[:, 1] - corners[:, 0]) + v * (corners[:, 2] - corners[:, 0])


def _least_crowded(samples, count, area) -> Int64[np.ndarray, " count"]:
    """Indices of the `count` samples that are left when in every round those more crowded than all near them go."""
    reach = 2 * math.sqrt(area / (2 * math.sqrt(3) * count))
    pairs = KDTree(samples).query_pairs(reach, output_type="ndarray")
    crowding = (1 - np.linalg.norm(samples[pairs[:, 0]] - samples[pairs[:, 1]], axis=1) / reach) ** 8
    alive = np.ones(len(samples), bool)
    while (surplus := int(alive.sum()) - count) > 0:
        weight = np.bincount(pairs[:, 0], crowding, len(samples)) + np.bincount(pairs[:, 1], crowding, len(samples))
        peak = alive.copy()
        peak[np.where(weight[pairs[:, 0]] >= weight[pairs[:, 1]], pairs[:, 1], pairs[:, 0])] = False
        going = np.flatnonzero(peak)
        alive[going[np.argsort(-weight[going], kind="stable")[:surplus]]] = False
        near = alive[pairs].all(1)
        pairs, crowding = pairs[near], crowding[near]
    return np.flatnonzero(alive)
