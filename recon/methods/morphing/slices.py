"""The kept slices of a label volume as a stack: cut to what is painted, in pixels as they were painted.

Masks are often made on coarse pixels and enlarged by repeating them. Where all outlines lie on multiples of a few
pixels, the same number along rows and columns, such squares are taken as the pixels; slices that are equal in such
groups are taken as one in their middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt16

from recon.errors import UserError
from recon.slices import LabelVolume

MARGIN = 6
LARGEST_BLOCK = 8
ENOUGH_EDGES = 8
"""Edges on fewer places than this say nothing: a box or two have their sides on multiples of something, too."""


@dataclass(frozen=True)
class Blocks:
    """A row of `count` blocks of `size` pixels each; the first starts at pixel `start`, which may be negative."""

    start: int
    size: int
    count: int

    def at(self, pixels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """The blocks that pixels are in."""
        return (pixels - self.start) // self.size

    def sampled(self) -> Int64[np.ndarray, " count"]:
        """A pixel of each block."""
        return np.maximum(self.start + self.size * np.arange(self.count), 0)

    def middle(self, block: float) -> float:
        """The place of a block in pixels, halves of pixels included."""
        return self.start + self.size * block + (self.size - 1) / 2


@dataclass(frozen=True)
class Stack:
    """Slices `painted`, at `positions` in slices of the volume, ascending and a multiple of `step` apart.

    Slice position p, row r and column c stand at `affine @ (p, r, c, 1)` in the user's coordinates. In units of the
    smaller side of a pixel, `pixel` is the size of a row and of a column, `thickness` that of one slice of the volume.
    `corner` is the volume's row and column at which the stack starts, and `blocks` those of its rows and columns.
    """

    painted: UInt16[np.ndarray, "slices rows columns"]
    positions: Float64[np.ndarray, " slices"]
    step: float
    affine: Float64[np.ndarray, "4 4"]
    pixel: Float64[np.ndarray, "2"]
    thickness: float
    corner: tuple[int, int]
    blocks: tuple[Blocks, Blocks]

    def paste(
        self, layer: UInt16[np.ndarray, "rows columns"], onto: UInt16[np.ndarray, "all_rows all_columns"]
    ) -> None:
        """Writes a layer of the stack onto a slice of the volume."""
        (top, left), ends = self.corner, onto.shape
        rows, columns = (
            b.at(np.arange(min(b.start + b.count * b.size, end - low)))
            for b, low, end in zip(self.blocks, self.corner, ends, strict=True)
        )
        onto[top : top + len(rows), left : left + len(columns)] = layer[np.ix_(rows, columns)]


def stack_of(volume: LabelVolume) -> Stack:
    """The stack of a volume's kept slices.

    Raises:
        UserError: fewer than two slices are kept, or nothing is painted on them.
    """
    if len(volume.kept) < 2:
        raise UserError(f"--method morphing: {len(volume.kept)} slice(s) are kept; a shape between slices needs two")
    slices = np.moveaxis(volume.labels, volume.axis, 0)
    low, high = _painted_box(slices, volume.kept)
    painted = np.stack([slices[k, low[0] : high[0], low[1] : high[1]] for k in volume.kept])
    blocks = [_repetition(painted, axis) for axis in range(3)]
    if blocks[1].size != blocks[2].size:
        blocks[1:] = [Blocks(0, 1, count) for count in painted.shape[1:]]
    gaps, positions = np.diff(volume.kept), volume.kept.astype(np.float64)
    if (gaps == gaps[0]).all():
        positions = positions[0] + gaps[0] * np.array([blocks[0].middle(n) for n in range(blocks[0].count)])
    else:
        blocks[0] = Blocks(0, 1, len(positions))
    painted = painted[np.ix_(*(b.sampled() for b in blocks))]
    step = float(np.gcd.reduce(gaps)) * blocks[0].size
    order = [volume.axis, *(axis for axis in range(3) if axis != volume.axis)]
    affine = volume.affine[:, [*order, 3]].astype(np.float64)
    for n in (1, 2):
        affine[:, 3] += affine[:, n] * (low[n - 1] + blocks[n].middle(0))
        affine[:, n] *= blocks[n].size
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = (spacing / spacing[1:].min()).round(6)
    corner = (int(low[0]), int(low[1]))
    return Stack(painted, positions, step, affine, spacing[1:], float(spacing[0]), corner, (blocks[1], blocks[2]))


def _painted_box(
    slices: UInt16[np.ndarray, "n rows columns"], kept: Int64[np.ndarray, " k"]
) -> tuple[Int64[np.ndarray, "2"], Int64[np.ndarray, "2"]]:
    """First and past-the-last row and column with a label on the kept slices, `MARGIN` around where there is room."""
    seen = np.zeros(slices.shape[1:], bool)
    for k in kept:
        seen |= slices[k] > 0
    if not seen.any():
        raise UserError("--method morphing: no label is painted on the slices kept")
    found = [np.flatnonzero(seen.any(axis)) for axis in (1, 0)]
    low = np.array([side[0] for side in found]) - MARGIN
    high = np.array([side[-1] + 1 for side in found]) + MARGIN
    return np.maximum(low, 0), np.minimum(high, seen.shape)


def _repetition(painted: UInt16[np.ndarray, "slices rows columns"], axis: int) -> Blocks:
    """The largest blocks along an axis that no edge cuts."""
    layers = np.moveaxis(painted, axis, 0)
    count = len(layers)
    starts = np.array([n for n in range(1, count) if (layers[n] != layers[n - 1]).any()])
    size = int(np.gcd.reduce(np.diff(starts))) if len(starts) >= ENOUGH_EDGES else 1
    if not 1 < size <= LARGEST_BLOCK:
        return Blocks(0, 1, count)
    start = int(starts[0] % size) - size
    start += size if start == -size else 0
    return Blocks(start, size, -((start - count) // size))
