"""k-means for the SOG format: 256 numbers that stand for all of a kind, and a palette of harmonics.

Lloyd's algorithm: assign each sample to its nearest centre, move each centre to the mean of its samples, repeat.
Numbers are sorted first; then each centre's samples are a run, and its mean is a difference of cumulative sums. The
palette of up to 65,536 rows is found in two levels, for a search of all for each sample would take minutes: samples
are grouped around 256 coarse centres, and each group gets a share of the palette that grows with its squared error.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8

ENTRIES = 256
COARSE = 256
ROUNDS = 24
"""Of Lloyd's algorithm over numbers."""
PALETTE_ROUNDS = 6
COARSE_SAMPLES = 1 << 15
DISTANCES = 1 << 22
"""Held at a time."""


def codebook(numbers: Float32[np.ndarray, "*n"]) -> tuple[Float64[np.ndarray, "256"], UInt8[np.ndarray, "*n"]]:
    """256 ascending numbers, and for each of the given ones the index of the nearest among them.

    The centres begin half of them evenly spread, half at quantiles, so that neither rare values far out nor the many
    near the middle are left without.
    """
    flat = np.sort(numbers, axis=None).astype(np.float64)
    sums = np.concatenate([[0], np.cumsum(flat)])
    quantiles = flat[np.linspace(0, len(flat) - 1, ENTRIES // 2).astype(int)]
    centers = np.sort(np.concatenate([np.linspace(flat[0], flat[-1], ENTRIES // 2), quantiles]))
    for _ in range(ROUNDS):
        ends = np.searchsorted(flat, (centers[1:] + centers[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(flat)]])
        count = np.diff(ends)
        centers = np.sort(np.where(count > 0, np.diff(sums[ends]) / np.maximum(count, 1), centers))
    nearest = np.searchsorted((centers[1:] + centers[:-1]) / 2, numbers)
    return centers, nearest.astype(np.uint8)


def palette(
    samples: Float32[np.ndarray, "n c"], entries: int, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "m c"], Int[np.ndarray, "n"]]:
    """At most `entries` rows that stand for all samples, and for each sample the index of its row."""
    if len(samples) <= entries:
        return samples, np.arange(len(samples))
    some = samples[rng.permutation(len(samples))[:COARSE_SAMPLES]]
    coarse, _ = _lloyd(some, min(COARSE, entries), rng)
    group = _nearest(samples, coarse)
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=len(coarse)))
    groups = [rows for rows in np.split(order, ends[:-1]) if len(rows)]
    shares = _shares(samples, groups, entries)
    centers, labels, taken = [], np.empty(len(samples), np.int64), 0
    for rows, share in zip(groups, shares, strict=True):
        mine, nearest = _lloyd(samples[rows], share, rng)
        labels[rows] = taken + nearest
        centers.append(mine)
        taken += len(mine)
    return np.concatenate(centers), labels


def _shares(samples: Float32[np.ndarray, "n c"], groups: list[Int[np.ndarray, "_"]], entries: int) -> list[int]:
    """How many of the palette's entries each group gets: one, and of the rest a part as its squared error is of all,
    but no more than it has samples."""
    sizes = np.array([len(rows) for rows in groups])
    errors = np.array([float(samples[rows].var(axis=0).sum()) * len(rows) for rows in groups])
    errors += 1e-9 * (errors.sum() or 1)
    shares = 1 + np.floor((entries - len(groups)) * errors / errors.sum()).astype(int)
    return np.minimum(shares, sizes).tolist()


def _lloyd(
    samples: Float32[np.ndarray, "n c"], entries: int, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "m c"], Int[np.ndarray, "n"]]:
    """Centres that began at samples drawn at random, and for each sample the nearest; centres that lost all their
    samples are left out."""
    centers = samples[rng.permutation(len(samples))[:entries]]
    for _ in range(PALETTE_ROUNDS):
        nearest = _nearest(samples, centers)
        used, nearest = np.unique(nearest, return_inverse=True)
        order = np.argsort(nearest, kind="stable")
        starts = np.searchsorted(nearest[order], np.arange(len(used)))
        sums = np.add.reduceat(samples[order], starts, axis=0)
        centers = sums / np.bincount(nearest)[:, None].astype(np.float32)
    return centers, _nearest(samples, centers)


def _nearest(samples: Float32[np.ndarray, "n c"], centers: Float32[np.ndarray, "m c"]) -> Int[np.ndarray, "n"]:
    """The index of the centre nearest to each sample: least |c|^2 - 2 x.c."""
    squares = np.square(centers).sum(axis=1)
    found = np.empty(len(samples), np.int64)
    rows = max(1, DISTANCES // len(centers))
    for start in range(0, len(samples), rows):
        block = samples[start : start + rows]
        found[start : start + rows] = (squares - 2 * (block @ centers.T)).argmin(axis=1)
    return found
