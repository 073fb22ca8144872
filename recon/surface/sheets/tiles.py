"""Blocks of a large space, each with a margin of samples around it, in which a surface is made by itself.

The surface of all samples in and around a block is made as if there were no others, and those of its faces are kept
whose centres lie in the block. On both sides of a seam the same samples stand around the same lattice, and what a
surface is there depends on nothing farther away than the margin: what two tiles keep fits together, vertex by vertex
(`recon.surface.sheets.welding`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

MARGIN = 16.0  # spacings around a block from which samples are taken
UNDISTURBED = 0.7  # of the margin: beyond it the surface ends because the samples do

Region = Callable[[Float64[np.ndarray, "n 3"]], Bool[np.ndarray, " n"]]  # whether places lie in it


def everywhere(places: Float64[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """The region of all places."""
    return np.ones(len(places), bool)


class Tile(NamedTuple):
    """The places x with low <= x < high, the margin around them, and the lattice that all tiles have in common: its
    origin and the step `base` of its middle level."""

    low: Float64[np.ndarray, "3"]
    high: Float64[np.ndarray, "3"]
    margin: float
    origin: Float64[np.ndarray, "3"]
    base: float

    @classmethod
    def everywhere(cls, origin: Float64[np.ndarray, "3"], base: float) -> Tile:
        """The one tile of a space that is not divided."""
        return cls(np.full(3, -np.inf), np.full(3, np.inf), 0.0, origin, base)

    def owns(self, places: Float64[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Whether the places lie in the tile's block."""
        return np.all((places >= self.low) & (places < self.high), axis=1)

    def undisturbed(self, places: Float64[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Whether the surface at the places is what it would be with all samples of the cloud."""
        clear = UNDISTURBED * self.margin
        return np.all((places >= self.low - clear) & (places < self.high + clear), axis=1)
