"""The nearest of many points: a balanced k-d tree, made for queries that come along a curve through space.

The points of a node lie together in memory, and each node has one half of those of the node above, parted at the middle
one along the longest side of their box: the halves' places follow from the node's number, and what is kept of a node is
only the axis and the place of its cut.

A query starts from what the one before it found. If k points were within r of a place y, they are within r + |x - y| of
a place x, so that most of the tree is out of the question from the start. Of the points within that reach the nearest
are chosen at last, by a sort into buckets: squared distances of points on a surface are spread evenly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64
from numba import njit, prange

LEAF = 10  # points in a leaf, at most
DEEPEST = 64
RUN = 4096  # queries that a thread answers in a row


class _Cuts(NamedTuple):
    """The tree: points in its order, their numbers, the axis and the place at which each inner node is cut, and how
    often they are halved. Node n is cut into 2 n and 2 n + 1, the root is 1, and from 2^halvings on they are leaves."""

    points: Float64[np.ndarray, "n 3"]
    number: Int32[np.ndarray, " n"]
    axis: Int64[np.ndarray, " inner"]
    place: Float64[np.ndarray, " inner"]
    halvings: int


class PointTree:
    """A tree of at least one point."""

    def __init__(self, points: Float64[np.ndarray, "n 3"]) -> None:
        halvings = max(0, int(np.ceil(np.log2(len(points) / LEAF))))
        self._cuts = _Cuts(*_cut(np.ascontiguousarray(points), halvings), halvings)

    def query(self, places: Float64[np.ndarray, "m 3"], k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The distances to the k nearest points, ascending, and their numbers: (m, k) each, or (m,) where k is 1.

        Raises:
            ValueError: there are fewer than k points.
        """
        if not 1 <= k <= len(self._cuts.points):
            raise ValueError(f"there are {len(self._cuts.points)} points, not {k}")
        if k == 1:
            return _nearest_one(np.ascontiguousarray(places), self._cuts)
        return _nearest(np.ascontiguousarray(places), k, self._cuts)

    def count(self, places: Float64[np.ndarray, "m 3"], radii: Float64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """How many points are no farther from each place than its radius."""
        return _count(np.ascontiguousarray(places), radii, self._cuts)


@njit(cache=True)
def _cut(points, halvings):
    """The points and their numbers in the tree's order, and all cuts."""
    count = len(points)
    number = np.arange(count).astype(np.int32)
    axis, place = np.zeros(1 << halvings, np.int64), np.zeros(1 << halvings)
    for level in range(halvings):
        for n in range(1 << level):
            start, end = (n * count) >> level, ((n + 1) * count) >> level
            node, middle = (1 << level) + n, ((2 * n + 1) * count) >> (level + 1)
            widest = -1.0
            for k in range(3):
                low, high = np.inf, -np.inf
                for m in number[start:end]:
                    low, high = min(low, points[m, k]), max(high, points[m, k])
                if high - low > widest:
                    widest, axis[node] = high - low, k
            _select(points, axis[node], number, start, middle, end - 1)
            place[node] = points[number[middle], axis[node]]
    return points[number], number, axis, place


@njit(cache=True)
def _select(points, axis, number, low, middle, high):
    """Orders number[low : high + 1] so that along the axis none before the middle is beyond one after it (Hoare)."""
    while low < high:
        a, b, c = points[number[low], axis], points[number[(low + high) // 2], axis], points[number[high], axis]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while points[number[i], axis] < pivot:
                i += 1
            while points[number[j], axis] > pivot:
                j -= 1
            if i <= j:
                number[i], number[j] = number[j], number[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@njit(cache=True)
def _start(waiting, far):
    """Puts the root on the stack; gives its height."""
    waiting[0] = 1
    far[0] = 0.0
    return 1


@njit(cache=True)
def _leaf(x, bound, cuts, waiting, far, height):
    """The points of the next leaf that may have some within sqrt(bound) of x: from, to (0, 0 where there is none), and
    the height of the stack.

    The stack has the nodes that are still to be looked into, how far x is from them along each axis, and the square of
    that distance.
    """
    while height > 0:
        height -= 1
        square = far[height, 3]
        if square > bound:
            continue
        node, off0, off1, off2 = waiting[height], far[height, 0], far[height, 1], far[height, 2]
        while node >> cuts.halvings == 0:
            axis = cuts.axis[node]
            off = x[axis] - cuts.place[node]
            node = 2 * node + (off >= 0)
            before = off0 if axis == 0 else (off1 if axis == 1 else off2)
            beyond = square - before * before + off * off
            if beyond <= bound:
                waiting[height] = node ^ 1
                far[height, 0], far[height, 1], far[height, 2], far[height, 3] = off0, off1, off2, beyond
                far[height, axis] = off
                height += 1
        leaf, count = node - (1 << cuts.halvings), len(cuts.points)
        return (leaf * count) >> cuts.halvings, ((leaf + 1) * count) >> cuts.halvings, height
    return 0, 0, 0


@njit(cache=True)
def _square(x, points, i):
    return (points[i, 0] - x[0]) ** 2 + (points[i, 1] - x[1]) ** 2 + (points[i, 2] - x[2]) ** 2


@njit(cache=True, parallel=True)
def _nearest_one(places, cuts):
    """The distance to the nearest point of every place, and its number."""
    distance, number = np.empty(len(places)), np.empty(len(places), np.int32)
    for run in prange((len(places) + RUN - 1) // RUN):
        waiting, far, best = np.empty(DEEPEST, np.int64), np.empty((DEEPEST, 4)), 0
        for q in range(run * RUN, min((run + 1) * RUN, len(places))):
            bound, height = _square(places[q], cuts.points, best), _start(waiting, far)
            while height > 0:
                first, end, height = _leaf(places[q], bound, cuts, waiting, far, height)
                for i in range(first, end):
                    square = _square(places[q], cuts.points, i)
                    if square < bound:
                        bound, best = square, i
            distance[q], number[q] = np.sqrt(bound), cuts.number[best]
    return distance, number


@njit(cache=True, parallel=True)
def _nearest(places, size, cuts):
    """The distances to the `size` nearest points, ascending, and their numbers."""
    distance, number = np.empty((len(places), size)), np.empty((len(places), size), np.int32)
    for run in prange((len(places) + RUN - 1) // RUN):
        waiting, far = np.empty(DEEPEST, np.int64), np.empty((DEEPEST, 4))
        most = 4 * size + 64
        squares, found, starts = np.empty((2, most)), np.empty((2, most), np.int64), np.empty(2 * size + 3, np.int64)
        reach = np.inf
        for q in range(run * RUN, min((run + 1) * RUN, len(places))):
            x = places[q]
            if q > run * RUN:
                reach += np.sqrt(_square(x, places, q - 1))
            bound, height, count = reach * reach * (1 + 1e-12), _start(waiting, far), 0
            while height > 0:
                first, end, height = _leaf(x, bound, cuts, waiting, far, height)
                for i in range(first, end):
                    square = _square(x, cuts.points, i)
                    if square <= bound:
                        squares[0, count], found[0, count] = square, i
                        count += 1
                if count + LEAF > most:
                    count = _least(squares, found, count, size, starts)
                    bound = squares[0, count - 1]
            _least(squares, found, count, size, starts)
            reach = np.sqrt(squares[0, size - 1])
            for k in range(size):
                distance[q, k], number[q, k] = np.sqrt(squares[0, k]), cuts.number[found[0, k]]
    return distance, number


@njit(cache=True)
def _least(squares, found, count, size, starts):
    """Brings the least of `count` squares, and what they were found for, to the front, ascending; gives how many, at
    most `size`. The second rows are for the buckets, which begin at `starts`."""
    top = 0.0
    for n in range(count):
        top = max(top, squares[0, n])
    scale = (len(starts) - 2) / top if top > 0 else 0.0
    for b in range(len(starts)):
        starts[b] = 0
    for n in range(count):
        starts[int(squares[0, n] * scale) + 1] += 1
    for b in range(1, len(starts)):
        starts[b] += starts[b - 1]
    for n in range(count):
        b = int(squares[0, n] * scale)
        squares[1, starts[b]], found[1, starts[b]] = squares[0, n], found[0, n]
        starts[b] += 1
    for n in range(count):  # by insertion: nearly all are in their places
        square, what, m = squares[1, n], found[1, n], min(n, size)
        while m > 0 and squares[0, m - 1] > square:
            if m < size:
                squares[0, m], found[0, m] = squares[0, m - 1], found[0, m - 1]
            m -= 1
        if m < size:
            squares[0, m], found[0, m] = square, what
    return min(count, size)


@njit(cache=True, parallel=True)
def _count(places, radii, cuts):
    """How many points are no farther from each place than its radius."""
    counts = np.zeros(len(places), np.int64)
    for run in prange((len(places) + RUN - 1) // RUN):
        waiting, far = np.empty(DEEPEST, np.int64), np.empty((DEEPEST, 4))
        for q in range(run * RUN, min((run + 1) * RUN, len(places))):
            bound, height = radii[q] ** 2, _start(waiting, far)
            while height > 0:
                first, end, height = _leaf(places[q], bound, cuts, waiting, far, height)
                for i in range(first, end):
                    counts[q] += _square(places[q], cuts.points, i) <= bound
    return counts
