"""Which Gaussians touch which tile of the picture, nearest first.

The visible Gaussians are sorted by depth once (radix sort of the float's bits: depths are positive). Then a counting
sort, stable, deals them in this order into the lists of the tiles that their boxes touch. Each pair of a Gaussian and
a tile is a hit; a hit has a place in its tile's list and another, its slot, in the order of the Gaussians: there the
backward pass leaves its gradients, so that those of one Gaussian lie side by side and are summed without atomics.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from render.splats.compilation import kernel

CHUNKS = 8  # parts of the sorted Gaussians that are dealt out in parallel


@kernel()
def sort_by_depth(depths, visible):
    """The indices `visible` (m,) in ascending order of `depths` (m,), given as the bits of positive float32.

    Three passes over 11 bits each; equal depths keep their order.
    """
    keys, order = depths.copy(), visible.copy()
    other_keys, other_order = np.empty_like(keys), np.empty_like(order)
    for digit in range(3):
        shift = np.uint32(11 * digit)
        starts = np.zeros(2049, np.int64)
        for key in keys:
            starts[np.int64((key >> shift) & np.uint32(2047)) + 1] += 1
        starts = np.cumsum(starts)
        for j in range(keys.shape[0]):
            value = np.int64((keys[j] >> shift) & np.uint32(2047))
            place = starts[value]
            starts[value] += 1
            other_keys[place], other_order[place] = keys[j], order[j]
        keys, other_keys = other_keys, keys
        order, other_order = other_order, order
    return order


@kernel(parallel=True)
def fill_lists(order, boxes, slots, columns, rows):
    """`starts` (tiles + 1,) and `pairs` (hits, 2): list t holds (Gaussian, slot) of `pairs[starts[t]:starts[t + 1]]`.

    `order` are the visible Gaussians, nearest first, `slots` (n + 1,) the first slot of each Gaussian.
    """
    tiles, m = columns * rows, order.shape[0]
    counts = np.zeros((CHUNKS, tiles), np.int64)
    for chunk in prange(CHUNKS):
        for j in range(chunk * m // CHUNKS, (chunk + 1) * m // CHUNKS):
            x0, y0, x1, y1 = (
                boxes[order[j], 0],
                boxes[order[j], 1],
                boxes[order[j], 2],
                boxes[order[j], 3],
            )
            for ty in range(y0, y1):
                for tx in range(x0, x1):
                    counts[chunk, ty * columns + tx] += 1
    starts = np.zeros(tiles + 1, np.int64)
    total = 0
    for t in range(tiles):
        starts[t] = total
        for chunk in range(CHUNKS):
            count = counts[chunk, t]
            counts[chunk, t] = total  # from here on: where the chunk's next hit of this tile goes
            total += count
    starts[tiles] = total
    pairs = np.empty((total, 2), np.int32)
    for chunk in prange(CHUNKS):
        for j in range(chunk * m // CHUNKS, (chunk + 1) * m // CHUNKS):
            i = order[j]
            slot = slots[i]
            x0, y0, x1, y1 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
            for ty in range(y0, y1):
                for tx in range(x0, x1):
                    place = counts[chunk, ty * columns + tx]
                    counts[chunk, ty * columns + tx] = place + 1
                    pairs[place, 0] = i
                    pairs[place, 1] = slot
                    slot += 1
    return starts, pairs


@kernel()
def deal(work, hands):
    """Tiles dealt to `hands` threads, the longest first, each to the one with least work so far.

    `dealt` (tiles,) are the tiles hand by hand, `bounds` (hands + 1,) where each hand's begin.
    """
    tiles = work.shape[0]
    owner = np.zeros(tiles, np.int64)
    if hands > 1:
        load = np.zeros(hands, np.int64)
        for t in np.argsort(-work):
            hand = np.argmin(load)
            owner[t] = hand
            load[hand] += work[t] + 1
    bounds = np.zeros(hands + 1, np.int64)
    for t in range(tiles):
        bounds[owner[t] + 1] += 1
    bounds = np.cumsum(bounds)
    place, dealt = bounds.copy(), np.empty(tiles, np.int64)
    for t in range(tiles):
        dealt[place[owner[t]]] = t
        place[owner[t]] += 1
    return dealt, bounds


@kernel(parallel=True)
def sum_slots(slots, values, sums):
    """`sums` (n, c): for each Gaussian the sum of `values` (hits, c) over its slots."""
    n = slots.shape[0] - 1
    for chunk in prange((n + 1023) // 1024):
        for i in range(chunk * 1024, min(n, (chunk + 1) * 1024)):
            for c in range(values.shape[1]):
                sums[i, c] = np.float32(0)
            for k in range(slots[i], slots[i + 1]):
                for c in range(values.shape[1]):
                    sums[i, c] += values[k, c]
