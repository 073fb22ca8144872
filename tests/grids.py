"""Flat meshes of unit squares."""

import numpy as np

from recon.surface.sheets.borders import Mesh


def square_grid(side: int, lacking: range = range(0)) -> Mesh:
    """So many times so many unit squares in the plane z = 0, but for those of which both numbers are `lacking`; vertex
    (x, y) has the number x (side + 1) + y. The first half of the faces begin at the lowest corner of each square."""
    x, y = np.meshgrid(np.arange(side + 1), np.arange(side + 1), indexing="ij")
    there = (x < side) & (y < side) & ~(np.isin(x, lacking) & np.isin(y, lacking))
    a, across = np.flatnonzero(there), side + 1
    faces = np.concatenate([np.stack([a, a + across, a + across + 1], 1), np.stack([a, a + across + 1, a + 1], 1)])
    return Mesh(np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(float), faces)
