"""Which Gaussians touch which tile of the picture, nearest first.

The visible Gaussians are sorted by depth once (radix sort of the float's bits: depths are positive). Then a counting
sort, stable, deals them in this order into the lists of the tiles that their boxes touch. Each pair of a Gaussian and
a tile is a hit; a hit has a place in its tile's list and another, its slot, in the order of the Gaussians: there the
backward pass leaves its gradients, so that those of one Gaussian lie side by side and are summed without atomics.
"""

from __future__ import annotations

import numpy as np

from render.splats.compilation import kernel
from render.splats.threads import share

CHUNKS = 8  # parts of the sorted Gaussians that are dealt out side by side


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


def fill_lists(order, boxes, slots, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """`starts` (tiles + 1,) and `pairs` (hits, 2): list t holds (Gaussian, slot) of `pairs[starts[t]:starts[t + 1]]`.

    `order` are the visible Gaussians, nearest first, `slots` (n + 1,) the first slot of each Gaussian.
    """
    counts = np.zeros((CHUNKS, columns * rows), np.int64)
    share(_count_hits, CHUNKS, order, boxes, columns, counts)
    ends = np.cumsum(counts.T).reshape(-1, CHUNKS)  # tile by tile, and in a tile chunk by chunk
    starts = np.concatenate([[0], ends[:, -1]])
    pairs = np.empty((starts[-1], 2), np.int32)
    share(_deal_hits, CHUNKS, order, boxes, slots, columns, np.subtract(ends.T, counts, order="C"), pairs)
    return starts, pairs


@kernel()
def _count_hits(first, end, order, boxes, columns, counts):
    """`counts` (chunks, tiles), zeros before: how many Gaussians of each of the chunks [first, end) touch each tile."""
    chunks, m = counts.shape[0], order.shape[0]
    for chunk in range(first, end):
        for j in range(chunk * m // chunks, (chunk + 1) * m // chunks):
            i = order[j]
            for ty in range(boxes[i, 1], boxes[i, 3]):
                for tx in range(boxes[i, 0], boxes[i, 2]):
                    counts[chunk, ty * columns + tx] += 1


@kernel()
def _deal_hits(first, end, order, boxes, slots, columns, places, pairs):
    """Fills `pairs`; `places` (chunks, tiles), where the chunk's next hit of a tile goes, moves on."""
    chunks, m = places.shape[0], order.shape[0]
    for chunk in range(first, end):
        for j in range(chunk * m // chunks, (chunk + 1) * m // chunks):
            i = order[j]
            slot = slots[i]
            for ty in range(boxes[i, 1], boxes[i, 3]):
                for tx in range(boxes[i, 0], boxes[i, 2]):
                    place = places[chunk, ty * columns + tx]
                    places[chunk, ty * columns + tx] = place + 1
                    pairs[place, 0] = i
                    pairs[place, 1] = slot
                    slot += 1


@kernel()
def sum_slots(first, end, slots, values, sums):
    """`sums` (n, c): for each of the Gaussians [first, end) the sum of `values` (hits, c) over its slots."""
    for i in range(first, end):
        for c in range(values.shape[1]):
            sums[i, c] = np.float32(0)
        for k in range(slots[i], slots[i + 1]):
            for c in range(values.shape[1]):
                sums[i, c] += values[k, c]
