"""Sets of nodes that are joined one link after the other: a forest in which every node knows one above it (Galler and
Fischer 1964). The root of a set is its lowest node."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numba import njit


@njit(cache=True)
def root(parent: Int64[np.ndarray, " n"], node: int | np.integer) -> int | np.integer:
    """The lowest node of the set that a node is in; the way there is halved (in place)."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True)
def join(parent: Int64[np.ndarray, " n"], a: int | np.integer, b: int | np.integer) -> None:
    """Makes the sets of two nodes one (in place)."""
    a, b = root(parent, a), root(parent, b)
    parent[max(a, b)] = min(a, b)
