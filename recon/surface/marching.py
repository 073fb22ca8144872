"""Marching cubes (Lorensen & Cline 1987): the surface where a field on a lattice crosses a level.

Each cell of eight nodes has one of 256 patterns of inside and outside. A table gives the triangles of every pattern,
whose corners lie on the cell's edges. The table is not typed in but derived, once, from one rule per cell face:

    walking around the face, the surface's segment goes from each crossing that leaves the inside to the next one

so that on an ambiguous face (inside and outside at alternate corners) the inside corners stay joined. Both cells at
a face follow the same rule, hence the surface is closed. The segments chain into loops; a loop is cut into triangles
by diagonals that never lie in a cell face, hence no edge gets more than two triangles: the surface is manifold.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int8, UInt8
from numba import njit

from recon.surface.cells import EDGES, FACE_CORNERS, FACE_EDGES

if TYPE_CHECKING:
    import trimesh

# A crossing keeps this share of the lattice step away from the nodes, so that where the field is exactly `level` at a
# node the up to six crossings around it stay distinct points, also after a float32 file.
NODE_CLEARANCE = 1e-3


def isosurface(
    values: Float[np.ndarray, "nx ny nz"],
    level: float = 0.0,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> trimesh.Trimesh:
    """The surface between the nodes with values below `level` (inside) and the others, by linear interpolation.

    Node (i, j, k) stands at origin + (i, j, k) * spacing. Faces are counter-clockwise from outside. The mesh is
    manifold, and watertight when all nodes on the border are outside; where they are not it is open there. Values
    are finite, float32 or float64.

    An own kernel, because on 256^3 float32 (455,028 faces) it takes 0.14 CPU s and 18 MB of memory where PyMCubes takes
    0.43 s and 31 MB and scikit-image's Lewiner 0.25 s and 26 MB, and because where values equal the level PyMCubes
    gives coincident vertices and Lewiner open edges.
    """
    import trimesh

    triangles, counts = triangle_table()
    values = np.ascontiguousarray(values)
    vertex_count, face_count = _count(values, level, counts)
    vertices = np.empty((vertex_count, 3), np.float64)
    faces = np.empty((face_count, 3), np.int64)
    _march(values, level, triangles, counts, vertices, faces)
    vertices *= spacing
    vertices += origin
    return trimesh.Trimesh(vertices, faces, process=False)


@njit(cache=True)
def _upper_corners(values, level, i, j, k):
    """Bits 4 to 7 of a cell's pattern: which of the four nodes (i or i + 1, j or j + 1, k) are inside."""
    bits = 16 * (values[i, j, k] < level) + 32 * (values[i + 1, j, k] < level)
    return bits + 64 * (values[i, j + 1, k] < level) + 128 * (values[i + 1, j + 1, k] < level)


@njit(cache=True)
def _count(values, level, counts):
    """How many vertices and faces the surface has."""
    nx, ny, nz = values.shape
    vertices, faces = 0, 0
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                inside = values[i, j, k] < level
                vertices += i + 1 < nx and (values[i + 1, j, k] < level) != inside
                vertices += j + 1 < ny and (values[i, j + 1, k] < level) != inside
                vertices += k + 1 < nz and (values[i, j, k + 1] < level) != inside
            if i + 1 < nx and j + 1 < ny:
                pattern = _upper_corners(values, level, i, j, 0)
                for k in range(nz - 1):
                    pattern = pattern >> 4 | _upper_corners(values, level, i, j, k + 1)
                    faces += counts[pattern]
    return vertices, faces


@njit(cache=True)
def _march(values, level, triangles, counts, vertices, faces):
    """Fills vertices (in lattice steps) and faces, one layer of nodes and the slab of cells behind it at a time.

    `on_edge[axis, i & 1, j, k]` is the vertex on the edge that leaves node (i, j, k) along the axis; two layers are
    all that a slab of cells looks at.
    """
    nx, ny, nz = values.shape
    on_edge = np.empty((3, 2, ny, nz), np.int64)
    vertex, face = 0, 0
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                here = values[i, j, k]
                for axis in range(3):
                    di, dj, dk = axis == 0, axis == 1, axis == 2
                    if i + di == nx or j + dj == ny or k + dk == nz:
                        continue
                    there = values[i + di, j + dj, k + dk]
                    if (here < level) == (there < level):
                        continue
                    t = (level - here) / (there - here)
                    t = min(max(t, NODE_CLEARANCE), 1 - NODE_CLEARANCE)
                    vertices[vertex, 0] = i + di * t
                    vertices[vertex, 1] = j + dj * t
                    vertices[vertex, 2] = k + dk * t
                    on_edge[axis, i & 1, j, k] = vertex
                    vertex += 1
        if i == 0:
            continue
        for j in range(ny - 1):
            pattern = _upper_corners(values, level, i - 1, j, 0)
            for k in range(nz - 1):
                pattern = pattern >> 4 | _upper_corners(values, level, i - 1, j, k + 1)
                for n in range(counts[pattern]):
                    for m in range(3):
                        axis, corner = EDGES[triangles[pattern, n, m]]
                        node_i, node_j, node_k = i - 1 + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2)
                        faces[face, m] = on_edge[axis, node_i & 1, node_j, node_k]
                    face += 1


@cache
def triangle_table() -> tuple[Int8[np.ndarray, "patterns 5 3"], UInt8[np.ndarray, " patterns"]]:
    """For each pattern (bit c: corner c is inside) its triangles as numbers of edges, and how many there are."""
    triangles = np.zeros((256, 5, 3), np.int8)
    counts = np.zeros(256, np.uint8)
    for pattern in range(256):
        found = [triangle for loop in _loops(pattern) for triangle in next(_triangulations(loop))]
        counts[pattern] = len(found)
        triangles[pattern, : len(found)] = np.reshape(found, (-1, 3))
    return triangles, counts


def _loops(pattern: int) -> list[list[int]]:
    """The closed loops of edge crossings that the module's rule makes in a cell of this pattern."""
    following = {}
    for corners, edges in zip(FACE_CORNERS, FACE_EDGES, strict=True):
        inside = [pattern >> corner & 1 for corner in corners]
        crossed = [n for n in range(4) if inside[n] != inside[(n + 1) % 4]]
        for m, n in enumerate(crossed):
            if inside[n]:
                following[edges[n]] = edges[crossed[(m + 1) % len(crossed)]]
    loops = []
    while following:
        loop = [next(iter(following))]
        while loop[-1] in following:
            loop.append(following.pop(loop[-1]))
        loops.append(loop[:-1])
    return loops


def _triangulations(loop: list[int]) -> Iterator[list[tuple[int, int, int]]]:
    """All ways to cut the loop into triangles by diagonals outside the cell's faces. Every loop has one."""
    if len(loop) < 3:
        yield []
        return
    first, last = loop[0], loop[-1]
    for n in range(1, len(loop) - 1):
        apex = loop[n]
        if (n > 1 and _in_one_face(first, apex)) or (n < len(loop) - 2 and _in_one_face(apex, last)):
            continue
        for left, right in product(_triangulations(loop[: n + 1]), _triangulations(loop[n:])):
            yield [*left, (first, apex, last), *right]


def _in_one_face(edge: int, other: int) -> bool:
    """Whether a face of the cell contains both edges."""
    return any(edge in edges and other in edges for edges in FACE_EDGES)
