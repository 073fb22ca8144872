"""Surfaces that enclose as much as was painted.

The vertices of label surfaces are means of crossings, smoothed: inside of everything round, and a part of one or two
voxels is left with little. The crossings tell how far. What each quad's middle is short of its crossing, along the
quad's normal, is averaged over the surface around: stairs cancel out, what a whole part lacks remains, and is given
back to its vertices. Vertices where three labels or more meet stay where they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int32, UInt16
from numba import njit

from recon.surface.label_surfaces import LabelSurfaces

ROUNDS = 2
STEPS = 12


def with_volume_given_back(surfaces: LabelSurfaces) -> LabelSurfaces:
    """The same surfaces with vertices that move along their normals, such that the crossings lie on them on average."""
    vertices = surfaces.vertices
    for _ in range(ROUNDS):
        normals, lack = _lacking(vertices, surfaces.quads, surfaces.sides, surfaces.crossings)
        between_two = (normals != 0).any(1)
        for _ in range(STEPS):
            lack = _averaged(lack, surfaces.quads, between_two)
        vertices = vertices + lack[:, None] * normals
    return replace(surfaces, vertices=vertices)


@njit(cache=True)
def _lacking(
    vertices: Float64[np.ndarray, "v 3"],
    quads: Int32[np.ndarray, "q 4"],
    sides: UInt16[np.ndarray, "q 2"],
    crossings: Float64[np.ndarray, "q 3"],
):
    """For each vertex the unit normal towards the lower label, and the mean of what its quads lack along theirs; the
    normal is zero where other labels meet at the vertex, too."""
    normals, lack, count = np.zeros_like(vertices), np.zeros(len(vertices)), np.zeros(len(vertices))
    pair = np.full((len(vertices), 2), -1, np.int64)
    for q in range(len(quads)):
        low, high = min(sides[q]), max(sides[q])
        a, b, c, d = vertices[quads[q, 0]], vertices[quads[q, 1]], vertices[quads[q, 2]], vertices[quads[q, 3]]
        normal = np.cross(c - a, d - b)
        length = np.sqrt((normal * normal).sum())
        normal *= (1.0 if sides[q, 1] == low else -1.0) / length if length > 0 else 0.0
        short = ((crossings[q] - (a + b + c + d) / 4) * normal).sum()
        for corner in range(4):
            v = quads[q, corner]
            if pair[v, 0] < 0:
                pair[v, 0], pair[v, 1] = low, high
            elif pair[v, 0] != low or pair[v, 1] != high:
                count[v] = -np.inf
            normals[v] += normal
            lack[v] += short
            count[v] += 1
    for v in range(len(vertices)):
        length = np.sqrt((normals[v] * normals[v]).sum())
        if count[v] > 0 and length > 0:
            normals[v] /= length
            lack[v] /= count[v]
        else:
            normals[v] = 0
            lack[v] = 0
    return normals, lack


@njit(cache=True)
def _averaged(values, quads, taking_part):
    """Half of each vertex's value and half of the mean of its neighbours', among those that take part."""
    total, count = np.zeros_like(values), np.zeros(len(values))
    for q in range(len(quads)):
        for corner in range(4):
            a, b = quads[q, corner], quads[q, (corner + 1) % 4]
            if taking_part[a] and taking_part[b]:
                total[a] += values[b]
                total[b] += values[a]
                count[a] += 1
                count[b] += 1
    for v in range(len(values)):
        if count[v] > 0:
            total[v] = (values[v] + total[v] / count[v]) / 2
        else:
            total[v] = values[v]
    return total
