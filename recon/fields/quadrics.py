"""Kernels over neighbourhoods of points: principal directions, and robust quadric patches of several sizes.

A patch at point p with axis n is the height z = c0 + c1 u + c2 v + c3 u^2 + c4 u v + c5 v^2 above the plane through p
across n, by weighted least squares over p's neighbours q. The weight is the product of

    (1 - rho^2 / h^2)^2                 Epanechnikov's kernel squared, rho the distance within the plane
    exp(-(1 - |cos(n_p, n_q)|) / 0.15)  other sheets, and what lies across an edge, have other axes
    (1 - r^2 / (3 s)^2)^2               Tukey's biweight of the residual r, s its scale: other sheets with the same axis

where h is a little more than the distance of the farthest neighbour, and the last factor is iterated.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

REACH = 1.1  # h in distances of the farthest neighbour
AXIS_TOLERANCE = 0.15
TUKEY = 3.0
TERMS = 6
RIDGE = 1e-4  # on slopes and curvatures, so that a neighbourhood without width has a patch, a flat one


@njit(cache=True)
def principal_axes(points, neighbours, size):
    """The direction of least variance of each point's `size` nearest neighbours (itself among them), unit (n, 3).

    Points that lie on one line have no such direction; they get one across the line.
    """
    n = len(points)
    axes = np.zeros((n, 3))
    for i in range(n):
        sums = np.zeros(10)
        last = points[neighbours[i, size - 1]] - points[i]
        square = last[0] ** 2 + last[1] ** 2 + last[2] ** 2 + 1e-300
        for j in range(size):
            x, y, z = points[neighbours[i, j]] - points[i]
            weight = (1 - (x * x + y * y + z * z) / square) ** 2 + 1e-3
            sums += weight * np.array([1.0, x, y, z, x * x, x * y, x * z, y * y, y * z, z * z])
        sums /= sums[0]
        _, x, y, z, xx, xy, xz, yy, yz, zz = sums
        least_direction(xx - x * x, xy - x * y, xz - x * z, yy - y * y, yz - y * z, zz - z * z, axes[i])
    return axes


@njit(cache=True)
def least_direction(xx, xy, xz, yy, yz, zz, axis):
    """Writes the unit eigenvector of the least eigenvalue of a symmetric 3 x 3 matrix, in closed form (Smith 1961)."""
    mean = (xx + yy + zz) / 3
    a, b, c = xx - mean, yy - mean, zz - mean
    spread = math.sqrt((a * a + b * b + c * c + 2 * (xy * xy + xz * xz + yz * yz)) / 6) + 1e-300
    half_det = (a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)) / (2 * spread**3)
    angle = math.acos(max(-1.0, min(1.0, half_det))) / 3
    least = 2 * spread * math.cos(angle + 2 * math.pi / 3)
    # The rows of (matrix - least * 1) are all across the axis: it is the longest cross product of two of them.
    a, b, c = a - least, b - least, c - least
    rows = ((a, xy, xz), (xy, b, yz), (xz, yz, c))
    longest = -1.0
    for k in range(3):
        p, q = rows[k], rows[(k + 1) % 3]
        x, y, z = p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]
        length = x * x + y * y + z * z
        if length > longest:
            longest = length
            axis[0], axis[1], axis[2] = x, y, z
    if longest > 1e-24 * spread**4:
        axis /= math.sqrt(longest)
        return
    # Two least eigenvalues coincide: any direction across the third eigenvector, which all rows lie along.
    p = rows[0] if a >= b and a >= c else (rows[1] if b >= c else rows[2])
    length = math.sqrt(p[0] ** 2 + p[1] ** 2 + p[2] ** 2)
    axis[:] = tangent(p[0] / length, p[1] / length, p[2] / length) if length > 0 else (0.0, 0.0, 1.0)


@njit(cache=True)
def tangent(x, y, z):
    """A unit vector across the unit vector (x, y, z)."""
    if abs(x) < 0.6:
        scale = 1 / math.sqrt(y * y + z * z)
        return 0.0, z * scale, -y * scale
    scale = 1 / math.sqrt(x * x + z * z)
    return -z * scale, 0.0, x * scale


@njit(cache=True)
def fit_patches(points, axes, neighbours, sizes, iterations):
    """Robust quadric patches at every point, over its sizes[i, m] nearest neighbours (itself the first), for each m.

    Gives (n, m, 3) the patch's height at the point and its two slopes, along `tangent(axis)` and axis x tangent;
    (n, m) the leverage: how much of the point's own height its patch took over, which is the variance of the patch's
    height over that of the points' heights; (n, m) the scale of the residuals, as a standard deviation. A patch that
    the neighbours do not determine has leverage 1 and height and slopes 0.
    """
    n, most = neighbours.shape
    count = sizes.shape[1]
    patches = np.zeros((n, count, 3))
    leverage = np.ones((n, count))
    scale = np.zeros((n, count))
    local = np.empty((most, 3))
    square = np.empty(most)
    likeness = np.empty(most)
    matrix = np.empty((TERMS, TERMS))
    right = np.empty(TERMS)
    solution = np.empty(TERMS)
    for i in range(n):
        localize(points, axes, neighbours[i], i, local, square, likeness)
        for m in range(count):
            size = sizes[i, m]
            last = points[neighbours[i, size - 1]] - points[i]
            h = REACH * math.sqrt(last[0] ** 2 + last[1] ** 2 + last[2] ** 2) + 1e-300
            spread = 0.0
            solved = True
            for iteration in range(iterations):
                robust = 0.0 if iteration == 0 else 1 / (TUKEY * spread * h) ** 2
                total = sum_equations(local, square, likeness, size, h, solution, robust, matrix, right)
                matrix[0, 0] += 1e-9 * total
                for k in range(1, TERMS):
                    matrix[k, k] += RIDGE * total
                if not factorize(matrix):
                    solved = False
                    break
                substitute(matrix, right, solution)
                spread = mean_residual(local, square, likeness, size, h, solution, 0.0 if iteration == 0 else spread)
            if not solved:
                continue
            patches[i, m, 0], patches[i, m, 1], patches[i, m, 2] = solution[0] * h, solution[1], solution[2]
            scale[i, m] = spread * h
            right[:] = 0.0
            right[0] = 1.0
            substitute(matrix, right, solution)
            leverage[i, m] = min(solution[0], 0.999)
    return patches, leverage, scale


@njit(cache=True)
def localize(points, axes, neighbours, i, local, square, likeness):
    """Coordinates (u, v, z) of the neighbours in the frame of point i, u^2 + v^2, and how alike the axes are."""
    nx, ny, nz = axes[i]
    tx, ty, tz = tangent(nx, ny, nz)
    bx, by, bz = ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx
    for j in range(len(neighbours)):
        q = neighbours[j]
        x, y, z = points[q, 0] - points[i, 0], points[q, 1] - points[i, 1], points[q, 2] - points[i, 2]
        u, v = x * tx + y * ty + z * tz, x * bx + y * by + z * bz
        local[j, 0], local[j, 1], local[j, 2] = u, v, x * nx + y * ny + z * nz
        square[j] = u * u + v * v
        cosine = abs(axes[q, 0] * nx + axes[q, 1] * ny + axes[q, 2] * nz)
        likeness[j] = math.exp(-(1 - cosine) / AXIS_TOLERANCE)


@njit(cache=True)
def sum_equations(local, square, likeness, size, h, patch, robust, matrix, right):
    """The normal equations of the patch in units of h, lower triangle; gives the sum of the weights."""
    matrix[:] = 0.0
    right[:] = 0.0
    total = 0.0
    row = np.empty(TERMS)
    for j in range(size):
        kernel = 1 - square[j] / (h * h)
        if kernel <= 0:
            continue
        weight = kernel * kernel * likeness[j]
        u, v, z = local[j, 0] / h, local[j, 1] / h, local[j, 2] / h
        row[0], row[1], row[2], row[3], row[4], row[5] = 1.0, u, v, u * u, u * v, v * v
        if robust > 0:
            residual = h * (z - height(patch, u, v))
            tukey = 1 - residual * residual * robust
            if tukey <= 0:
                continue
            weight *= tukey * tukey
        total += weight
        for k in range(TERMS):
            weighted = weight * row[k]
            right[k] += weighted * z
            for other in range(k + 1):
                matrix[k, other] += weighted * row[other]
    return total


@njit(cache=True)
def height(patch, u, v):
    return patch[0] + patch[1] * u + patch[2] * v + patch[3] * u * u + patch[4] * u * v + patch[5] * v * v


@njit(cache=True)
def mean_residual(local, square, likeness, size, h, patch, cap):
    """The scale of the residuals in h: their mean size, each capped at 2.5 `cap` unless that is 0."""
    total = 1e-300
    weights = 1e-300
    for j in range(size):
        kernel = 1 - square[j] / (h * h)
        if kernel <= 0:
            continue
        weight = kernel * kernel * likeness[j]
        residual = abs(local[j, 2] / h - height(patch, local[j, 0] / h, local[j, 1] / h))
        total += weight * (residual if cap == 0 else min(residual, 2.5 * cap))
        weights += weight
    return math.sqrt(math.pi / 2) * total / weights + 1e-9


@njit(cache=True)
def factorize(matrix):
    """Cholesky's factor in place, lower triangle; False where the matrix is not positive definite."""
    for i in range(TERMS):
        for j in range(i + 1):
            entry = matrix[i, j]
            for k in range(j):
                entry -= matrix[i, k] * matrix[j, k]
            if i > j:
                matrix[i, j] = entry / matrix[j, j]
            elif entry > 1e-13:
                matrix[i, i] = math.sqrt(entry)
            else:
                return False
    return True


@njit(cache=True)
def substitute(factor, right, solution):
    """Solves with Cholesky's factor."""
    for i in range(TERMS):
        entry = right[i]
        for k in range(i):
            entry -= factor[i, k] * solution[k]
        solution[i] = entry / factor[i, i]
    for i in range(TERMS - 1, -1, -1):
        entry = solution[i]
        for k in range(i + 1, TERMS):
            entry -= factor[k, i] * solution[k]
        solution[i] = entry / factor[i, i]


@njit(cache=True)
def tangents(axes):
    """The directions u and v of the patches at points with these axes: (n, 3) each."""
    along = np.empty_like(axes)
    across = np.empty_like(axes)
    for i in range(len(axes)):
        x, y, z = axes[i]
        a, b, c = tangent(x, y, z)
        along[i] = (a, b, c)
        across[i] = (y * c - z * b, z * a - x * c, x * b - y * a)
    return along, across
