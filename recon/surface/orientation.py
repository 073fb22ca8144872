"""Faces turned to look the same way."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numba import njit

from recon.surface.topology import Topology


def oriented(faces: Int64[np.ndarray, "f 3"], vertex_count: int) -> Int64[np.ndarray, "f 3"]:
    """The faces turned so that the two at an edge run along it in opposite directions, as far as that can be: a surface
    with one side keeps a seam. The first face of each part stays as it is."""
    topology = Topology(faces, vertex_count)
    a, b = topology.pairs.T
    start = faces.ravel()
    turned = _turned(len(faces), a // 3, b // 3, start[a] == start[b])
    return np.where(turned[:, None], faces[:, [0, 2, 1]], faces)


@njit(cache=True)
def _turned(count, first, second, same_way):
    """Whether to turn each face: breadth first over neighbours, which must differ where they run the same way."""
    begin = np.zeros(count + 1, np.int64)
    for n in range(len(first)):
        begin[first[n] + 1] += 1
        begin[second[n] + 1] += 1
    for face in range(count):
        begin[face + 1] += begin[face]
    filled, neighbour = begin[:-1].copy(), np.empty(2 * len(first), np.int64)
    differs = np.empty(2 * len(first), np.bool_)
    for n in range(len(first)):
        for here, there in ((first[n], second[n]), (second[n], first[n])):
            neighbour[filled[here]], differs[filled[here]] = there, same_way[n]
            filled[here] += 1
    turned, met = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    queue = np.empty(count, np.int64)
    for seed in range(count):
        if met[seed]:
            continue
        met[seed], queue[0], length, at = True, seed, 1, 0
        while at < length:
            face = queue[at]
            at += 1
            for n in range(begin[face], begin[face + 1]):
                other = neighbour[n]
                if not met[other]:
                    met[other], turned[other] = True, turned[face] != differs[n]
                    queue[length] = other
                    length += 1
    return turned
