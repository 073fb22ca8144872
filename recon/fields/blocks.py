"""A large cloud cut into blocks of space with about as many points each, so that work on it needs memory for one block.

Blocks are half-open boxes that fill space: the outermost reach to infinity, and every place lies in exactly one. They
come from halving the points along the longest side of their box until no part has too many (a k-d tree's leaves).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64
from scipy.spatial import KDTree

from recon.fields.neighbourhoods import SPACING_NEIGHBOUR

SAMPLE = 1000  # points of a block that its spacing is estimated from
SPARSE_QUANTILE = 0.95  # of the spacings in a block: neighbours should be within reach for nearly all of its points
FARTHEST = 0.25  # of a block's diagonal: no block is surrounded by more than a few times its own points


@dataclass(frozen=True)
class Blocks:
    """Points (n, 3) block by block, of which block b has those from starts[b] to starts[b + 1]; `order` (n,) are their
    indices in the cloud. Block b holds the places x with low[b] <= x < high[b]."""

    points: Float64[np.ndarray, "n 3"]
    order: Int32[np.ndarray, " n"]
    starts: Int64[np.ndarray, " b_and_1"]
    low: Float64[np.ndarray, "b 3"]
    high: Float64[np.ndarray, "b 3"]

    @classmethod
    def of(cls, points: Float64[np.ndarray, "n 3"], most: int) -> Blocks:
        """Blocks with at most `most` of the points."""
        everywhere = np.full(3, np.inf)
        found = list(_halved(points, np.arange(len(points), dtype=np.int32), -everywhere, everywhere, most))
        members, low, high = zip(*found, strict=True)
        order = np.concatenate(members)
        starts = np.concatenate([[0], np.cumsum([len(part) for part in members])])
        return cls(points[order], order, starts, np.array(low), np.array(high))

    def holding(self, points: Float64[np.ndarray, "m 3"], counts: list[int]) -> Blocks:
        """The same boxes with other points, so many in each, block by block."""
        order, starts = np.arange(len(points), dtype=np.int32), np.concatenate([[0], np.cumsum(counts)])
        return replace(self, points=points, order=order, starts=starts)

    def __len__(self) -> int:
        return len(self.low)

    def members(self, b: int) -> slice:
        """Where the points of block b stand."""
        return slice(int(self.starts[b]), int(self.starts[b + 1]))

    def around(self, b: int, reach: float) -> Int64[np.ndarray, " m"]:
        """Where the points stand that lie in block b or within `reach` of its box; those of the block come first."""
        low, high = self.low[b] - reach, self.high[b] + reach
        found = [np.arange(self.starts[b], self.starts[b + 1])]
        for other in np.flatnonzero(((self.low < high) & (self.high > low)).all(1)).tolist():
            if other != b:
                part = self.points[self.members(other)]
                found.append(self.starts[other] + np.flatnonzero(_inside(part, low, high)))
        return np.concatenate(found)

    def reach(self, b: int, spacings: float, spacing: Float64[np.ndarray, " b"]) -> float:
        """That many spacings of the sparsest block in question: block b, or one that near it."""
        near = spacings * spacing[b]
        touched = ((self.low < self.high[b] + near) & (self.high > self.low[b] - near)).all(1)
        part = self.points[self.members(b)]
        extent = np.ptp(part, axis=0) if len(part) else np.zeros(3)
        return float(max(near, min(spacings * spacing[touched].max(), FARTHEST * np.linalg.norm(extent))))

    def spacings(self) -> Float64[np.ndarray, " b"]:
        """About the distance between points in the sparse parts of each block."""
        return np.array([_sparse_spacing(self.points[self.members(b)]) for b in range(len(self))])


def _halved(
    points: Float64[np.ndarray, "n 3"],
    members: Int32[np.ndarray, " m"],
    low: Float64[np.ndarray, "3"],
    high: Float64[np.ndarray, "3"],
    most: int,
) -> Iterator[tuple[Int32[np.ndarray, " _"], Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]]:
    """The members of each block, and its box."""
    extent = np.ptp(points[members], axis=0) if len(members) > most else np.zeros(3)
    if not extent.any():  # small enough, or all in one place
        yield members, low, high
        return
    axis = int(extent.argmax())
    along = points[members, axis]
    middle = np.partition(along, len(along) // 2)[len(along) // 2]
    before = along < middle
    if not before.any():  # more than half lie in the lowest plane
        middle = np.nextafter(middle, np.inf)
        before = along < middle
    upper, lower = high.copy(), low.copy()
    upper[axis] = lower[axis] = middle
    yield from _halved(points, members[before], low, upper, most)
    yield from _halved(points, members[~before], lower, high, most)


def _inside(points: Float64[np.ndarray, "n 3"], low: np.ndarray, high: np.ndarray) -> Bool[np.ndarray, " n"]:
    return np.all((points >= low) & (points < high), axis=1)


def _sparse_spacing(points: Float64[np.ndarray, "n 3"]) -> float:
    """sqrt(area per point) in the sparse parts of a surface, from discs out to the 8th neighbours of some points."""
    neighbour = min(SPACING_NEIGHBOUR, len(points) - 1)
    if neighbour == 0:
        return 0.0
    sample = points[:: max(1, len(points) // SAMPLE)]
    radius = KDTree(points, balanced_tree=False).query(sample, neighbour + 1)[0][:, -1]
    return float(np.quantile(radius, SPARSE_QUANTILE) * np.sqrt(np.pi / neighbour))
