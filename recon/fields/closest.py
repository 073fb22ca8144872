"""Closest points on a lattice: which of many points is nearest, for every node, without a tree.

Each node starts with the points in the cells around it and takes over what its neighbours know, in raster scans forth
and back (vector distance transform, Danielsson 1980). What is found is nearly always the closest point, and otherwise
one that is hardly farther; it costs a few passes over the lattice, whatever the number of points.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int32
from numba import njit

from recon.fields.least_bending import Lattice


class ClosestPoints:
    """The closest of `points` (n, 3), known at every node of the lattice; all points lie within its box."""

    def __init__(self, points: Float64[np.ndarray, "n 3"], lattice: Lattice) -> None:
        self.lattice = lattice
        self._places = ((points - lattice.origin) / lattice.step).astype(np.float32)
        self._index = np.full(lattice.shape, -1, np.int32)
        self._square = np.full(lattice.shape, np.inf, np.float32)
        _seed(self._places, self._index, self._square)
        for _ in range(2):
            _scan(self._places, self._index, self._square)
            _scan(self._places, self._index[::-1, ::-1, ::-1], self._square[::-1, ::-1, ::-1], True)

    def distance_at_nodes(self) -> Float32[np.ndarray, "nx ny nz"]:
        """The distance from every node to its closest point."""
        return self.lattice.step * np.sqrt(self._square)

    def of(self, points: Float64[np.ndarray, "m 3"]) -> Int32[np.ndarray, " m"]:
        """The index of the closest point of each query point, among those closest to the corners of its cell."""
        places = ((points - self.lattice.origin) / self.lattice.step).astype(np.float32)
        found = np.empty(len(points), np.int32)
        _closest_of_corners(places, self._places, self._index, found)
        return found


@njit(cache=True)
def _squared(place, i, j, k):
    a, b, c = place[0] - np.float32(i), place[1] - np.float32(j), place[2] - np.float32(k)
    return a * a + b * b + c * c


@njit(cache=True)
def _seed(places, index, square):
    """Gives every point to the eight nodes around it."""
    nx, ny, nz = index.shape
    for n in range(len(places)):
        i, j, k = int(places[n, 0]), int(places[n, 1]), int(places[n, 2])
        for p in range(max(i, 0), min(i + 2, nx)):
            for q in range(max(j, 0), min(j + 2, ny)):
                for r in range(max(k, 0), min(k + 2, nz)):
                    s = _squared(places[n], p, q, r)
                    if s < square[p, q, r]:
                        square[p, q, r] = s
                        index[p, q, r] = n


@njit(cache=True)
def _scan(places, index, square, reversed=False):
    """One raster scan: each node tries the closest points of the 13 neighbours scanned before it."""
    nx, ny, nz = index.shape
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                best, square_best = index[i, j, k], square[i, j, k]
                for neighbour in range(13):
                    p, q, r = i + neighbour // 9 - 1, j + neighbour // 3 % 3 - 1, k + neighbour % 3 - 1
                    if p < 0 or q < 0 or r < 0 or q >= ny or r >= nz:
                        continue
                    n = index[p, q, r]
                    if n < 0 or n == best:
                        continue
                    if reversed:
                        s = _squared(places[n], nx - 1 - i, ny - 1 - j, nz - 1 - k)
                    else:
                        s = _squared(places[n], i, j, k)
                    if s < square_best:
                        best, square_best = n, s
                index[i, j, k], square[i, j, k] = best, square_best


@njit(cache=True)
def _closest_of_corners(queries, places, index, found):
    nx, ny, nz = index.shape
    for m in range(len(queries)):
        x, y, z = queries[m]
        i, j, k = min(max(int(x), 0), nx - 2), min(max(int(y), 0), ny - 2), min(max(int(z), 0), nz - 2)
        best, square_best = index[i, j, k], np.inf
        for corner in range(8):
            n = index[i + (corner >> 2), j + (corner >> 1 & 1), k + (corner & 1)]
            a, b, c = places[n, 0] - x, places[n, 1] - y, places[n, 2] - z
            s = a * a + b * b + c * c
            if s < square_best:
                best, square_best = n, s
        found[m] = best
