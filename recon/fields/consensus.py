"""Patches for points of exact clouds whose neighbours are on several sheets: the sheet that holds most of them.

Where sheets stand about a spacing apart, or meet in an edge, half of a point's neighbours are on another sheet, and a
patch fitted to all of them lies across both. In a cloud without noise a sheet passes through its points, so the plane
is sought among those through the point and two of its nearest neighbours: the one from which the neighbours' distances,
each counted up to a tolerance, are least (MSAC, Torr and Zisserman 2000, over all pairs in place of random ones). A
quadric patch is then fitted to what is near that plane.

A plane that lies across both sheets may still be near to more neighbours than the right one, but those have other axes.
Once most axes are right, one that the neighbours do not confirm is replaced by one of theirs, that which they confirm
best (`confirmed_axes`). The axis n at p is confirmed by a neighbour q to the degree of

    (1 - off^2 / tolerance^2) (n . n_q)^2 (1 - .7 |q - p|^2 / the farthest's),   off = (q - p) . (n + n_q) / 2,

with n_q turned to agree with n: on an arc of a circle, however strong the bend, the chord does not leave the sheet.
Along the same arc the axis n_q is carried to p: mirrored at the plane between the two.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from recon.fields.quadrics import LOCALS, MOMENTS, REACH, TERMS, localize, solve, sum_moments, weigh

PAIRED = 12  # nearest neighbours that planes are made of
PLANE_TOLERANCE, PATCH_TOLERANCE = 0.25, 0.5  # spacings
ITERATIONS = 3
WITNESSES = 15
AROUND = 4  # numbers kept of a neighbour: offset and nearness
ABOUT = 8  # of one with its axis: these, and how far off its sheet the point is
STEEPEST = 1e15  # whose square is a number in single precision
DISTANCE_COUNTS = 0.7  # of a neighbour's weight is lost by the farthest
DOUBTFUL = 0.5  # of the neighbours' weight confirms an axis: less calls for a better one,
BETTER = 1.5  # confirmed by so many times as much


@njit(cache=True)
def agreeing_axes(points, axes, neighbours, spacing, which):
    """A copy of the axes (n, 3) in which the points `which` have that of the plane that most neighbours agree on."""
    agreeing = axes.copy()
    around = np.empty((AROUND, neighbours.shape[1] - 1), np.float32)
    for i in which:
        last = neighbours[i, -1]
        farthest = math.sqrt(((points[last] - points[i]) ** 2).sum()) + 1e-300
        for j in range(around.shape[1]):
            square = 0.0
            for k in range(3):
                step = (points[neighbours[i, j + 1], k] - points[i, k]) / farthest
                square += step * step
                around[k, j] = step
            around[3, j] = 1 - DISTANCE_COUNTS * square
        steepness = min(farthest / (PLANE_TOLERANCE * spacing[i] + 1e-300), STEEPEST)
        _agree(around, np.float32(steepness), agreeing[i])
    return agreeing


@njit(cache=True, fastmath=True)
def _agree(around, steepness, axis):
    """Writes the unit normal of the best plane through the origin and two of the nearest offsets.

    `around` are the offsets of the neighbours in the farthest one's distance, and how near they are; `steepness` is
    that distance in tolerances. Single precision is enough to choose by, and so short a loop without branches is done
    eight neighbours at a time.
    """
    most = np.float32(-1)
    for a in range(min(PAIRED, around.shape[1])):
        p0, p1, p2 = around[0, a], around[1, a], around[2, a]
        for b in range(a):
            q0, q1, q2 = around[0, b], around[1, b], around[2, b]
            x, y, z = p1 * q2 - p2 * q1, p2 * q0 - p0 * q2, p0 * q1 - p1 * q0
            square = x * x + y * y + z * z
            if square <= np.float32(0.1) * (p0 * p0 + p1 * p1 + p2 * p2) * (q0 * q0 + q1 * q1 + q2 * q2):
                continue  # nearly on one line with the point
            scale = np.float32(1) / np.sqrt(square)
            x, y, z = x * scale, y * scale, z * scale
            agreement = _near_plane(around, x, y, z, steepness)
            if agreement > most:
                most = agreement
                axis[0], axis[1], axis[2] = x, y, z


@njit(cache=True, fastmath=True)
def _near_plane(around, x, y, z, steepness):
    """How many neighbours are near the plane with normal (x, y, z)."""
    total = np.float32(0)
    for j in range(around.shape[1]):
        off = (around[0, j] * x + around[1, j] * y + around[2, j] * z) * steepness
        total += around[3, j] * max(np.float32(0), np.float32(1) - off * off)
    return total


@njit(cache=True)
def confirmed_axes(points, axes, neighbours, spacing):
    """The axes (m, 3) of some points, whose neighbours (m, k) they head and whose spacing is (m,): replaced where the
    neighbours do not confirm them, but another one, if there is such among theirs. And which were replaced, (m,)."""
    confirmed, replaced = axes[neighbours[:, 0]], np.zeros(len(neighbours), np.bool_)
    around = np.empty((ABOUT, neighbours.shape[1] - 1), np.float32)
    for i in range(len(neighbours)):
        weight = _look_around(points, axes, neighbours[i], spacing[i], around)
        x, y, z = np.float32(confirmed[i, 0]), np.float32(confirmed[i, 1]), np.float32(confirmed[i, 2])
        share = _confirmed(around, x, y, z) / weight
        if share > DOUBTFUL:
            continue
        most = BETTER * share
        for j in range(around.shape[1]):
            x, y, z = _carried(around, j)
            share = _confirmed(around, x, y, z) / weight
            if share > most:
                most, replaced[i] = share, True
                confirmed[i, 0], confirmed[i, 1], confirmed[i, 2] = x, y, z
    return confirmed, replaced


@njit(cache=True)
def _look_around(points, axes, near, spacing, around):
    """Fills in the neighbours' offsets in tolerances, how near they are, their axes, and half of how far these say
    that the point is off their sheets; gives the sum of the nearness."""
    i, last = near[0], near[-1]
    steepness = 1 / (PLANE_TOLERANCE * spacing + 1e-300)
    farthest = math.sqrt(((points[last] - points[i]) ** 2).sum()) + 1e-300
    steepness = min(steepness, STEEPEST / farthest)
    farthest *= steepness
    weight = 1e-30
    for j in range(around.shape[1]):
        q, square, along = near[j + 1], 0.0, 0.0
        for k in range(3):
            step = (points[q, k] - points[i, k]) * steepness
            square += step * step
            along += step * axes[q, k]
            around[k, j], around[4 + k, j] = step, axes[q, k]
        around[3, j] = 1 - DISTANCE_COUNTS * square / farthest**2
        around[7, j] = along / 2
        weight += around[3, j]
    return weight


@njit(cache=True)
def _carried(around, j):
    """The axis of a neighbour as it is at the point: mirrored at the plane between the two."""
    x, y, z = around[0, j], around[1, j], around[2, j]
    scale = 4 * around[7, j] / (x * x + y * y + z * z + np.float32(1e-30))
    return around[4, j] - scale * x, around[5, j] - scale * y, around[6, j] - scale * z


@njit(cache=True, fastmath=True)
def _confirmed(around, x, y, z):
    """The sum of the nearness of the neighbours that confirm the axis (x, y, z), each to its degree."""
    total = np.float32(0)
    for j in range(around.shape[1]):
        half = (around[0, j] * x + around[1, j] * y + around[2, j] * z) / 2
        cosine = around[4, j] * x + around[5, j] * y + around[6, j] * z
        off = half + (around[7, j] if cosine >= 0 else -around[7, j])
        total += around[3, j] * max(np.float32(0), np.float32(1) - off * off) * cosine * cosine
    return total


@njit(cache=True)
def agreeing_patches(points, axes, neighbours, spacing, which):
    """Patches on those axes: (k, 3) height and slopes as `fit_patches` gives them, and how far the neighbours are.

    The latter (k, 15) are the distances of the 15 nearest neighbours from the patch, ascending: where there is no noise
    those of its own sheet are nearly 0, however many belong to others.
    """
    patches, distances = np.zeros((len(which), 3)), np.zeros((len(which), WITNESSES))
    size = neighbours.shape[1]
    local, weight = np.empty((LOCALS, size)), np.empty(size)
    moments, matrix, right = np.empty(MOMENTS), np.empty((TERMS, TERMS)), np.empty(TERMS)
    for row in range(len(which)):
        i = which[row]
        localize(points, axes, neighbours[i], i, local)
        h = REACH * math.sqrt(local[5, -1]) + 1e-300
        patch = np.zeros(TERMS)
        for _ in range(ITERATIONS):
            weigh(local, h, patch, 1 / (PATCH_TOLERANCE * spacing[i]) ** 2, weight)
            sum_moments(local, h, weight, moments)
            if not solve(moments, matrix, right):
                break
            patch = right * np.array([h, 1.0, 1.0, 1 / h, 1 / h, 1 / h])
        patches[row] = patch[:3]
        a, b, c, d, e, f = patch
        for j in range(WITNESSES):
            u, v = local[0, j + 1], local[1, j + 1]
            distances[row, j] = abs(local[2, j + 1] - (a + b * u + c * v + d * u * u + e * u * v + f * v * v))
        distances[row].sort()
    return patches, distances
