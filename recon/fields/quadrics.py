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
from numba import njit, prange

REACH = 1.1  # h in distances of the farthest neighbour
AXIS_TOLERANCE = 0.15
TUKEY = 3.0
TERMS = 6
MOMENTS = 21
NORMAL_EQUATIONS = (0, 1, 3, 2, 4, 5, 3, 6, 7, 10, 4, 7, 8, 11, 12, 5, 8, 9, 12, 13, 14)  # lower triangle, by moment
LOCALS = 6
BLOCK = 128  # points that a thread takes at once
RIDGE = 1e-6  # on slopes and curvatures, so that a neighbourhood without width has a patch, a flat one


@njit(cache=True, parallel=True)
def principal_axes(points, neighbours, sizes):
    """The direction of least variance of the sizes[i] nearest neighbours of some points (m, k), which are themselves
    their first: unit (m, 3).

    Points that lie on one line have no such direction; they get one across the line.
    """
    axes = np.zeros((len(neighbours), 3))
    for i in prange(len(neighbours)):
        near = neighbours[i, : sizes[i]]
        center = points[near[0]]
        last = points[near[-1]] - center
        square = last[0] ** 2 + last[1] ** 2 + last[2] ** 2
        _least_direction(*_covariance(points, near, center, square), axes[i])
    return axes


@njit(cache=True)
def _covariance(points, neighbours, center, square):
    """Second moments xx, xy, xz, yy, yz, zz about the mean, with weights that fall to nearly 0 at sqrt(square)."""
    p, q, r = center
    inverse = 1 / (square + 1e-300)
    w = sx = sy = sz = xx = xy = xz = yy = yz = zz = 0.0
    for j in neighbours:
        x, y, z = points[j, 0] - p, points[j, 1] - q, points[j, 2] - r
        weight = (1 - (x * x + y * y + z * z) * inverse) ** 2 + 1e-3
        w += weight
        sx += weight * x
        sy += weight * y
        sz += weight * z
        xx += weight * x * x
        xy += weight * x * y
        xz += weight * x * z
        yy += weight * y * y
        yz += weight * y * z
        zz += weight * z * z
    x, y, z = sx / w, sy / w, sz / w
    return xx / w - x * x, xy / w - x * y, xz / w - x * z, yy / w - y * y, yz / w - y * z, zz / w - z * z


@njit(cache=True)
def mean_over(values, neighbours, count):
    """The mean of values (n, m) over each point's `count` nearest neighbours."""
    n, m = values.shape
    means = np.zeros((n, m))
    for i in range(n):
        for j in neighbours[i, :count]:
            for k in range(m):
                means[i, k] += values[j, k]
        means[i] /= min(count, neighbours.shape[1])
    return means


@njit(cache=True)
def _least_direction(xx, xy, xz, yy, yz, zz, axis):
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
    axis[:] = _tangent(p[0] / length, p[1] / length, p[2] / length) if length > 0 else (0.0, 0.0, 1.0)


@njit(cache=True)
def _tangent(x, y, z):
    """A unit vector across the unit vector (x, y, z)."""
    if abs(x) < 0.6:
        scale = 1 / math.sqrt(y * y + z * z)
        return 0.0, z * scale, -y * scale
    scale = 1 / math.sqrt(x * x + z * z)
    return -z * scale, 0.0, x * scale


@njit(cache=True, parallel=True)
def fit_patches(points, axes, neighbours, sizes, iterations):
    """Robust quadric patches at some points, over their sizes[i, m] nearest neighbours, for each m; sizes ascend. The
    first of the neighbours (n, k) are the points themselves; the axes are those of all points.

    Gives (n, m, 3) the patch's height at the point and its two slopes, along the directions of `tangents`; (n, m) the
    leverage: how much of the point's own height its patch took over, which is the variance of the patch's height over
    that of the points' heights; (n,) the scale of the first patch's residuals, as a standard deviation. A patch that
    the neighbours do not determine has leverage 1 and height and slopes 0.
    """
    n, count = sizes.shape
    patches = np.zeros((n, count, 3))
    leverage = np.ones((n, count))
    scale = np.zeros(n)
    for block in prange((n + BLOCK - 1) // BLOCK):
        local = np.empty((LOCALS, neighbours.shape[1]))
        for i in range(block * BLOCK, min(n, (block + 1) * BLOCK)):
            localize(points, axes, neighbours[i, : sizes[i, -1]], neighbours[i, 0], local)
            scale[i] = _fit_point(local, sizes[i], iterations, patches[i], leverage[i])
    return patches, leverage, scale


@njit(cache=True)
def localize(points, axes, neighbours, i, local):
    """Coordinates u, v, z of the neighbours in the frame of point i, u^2 + v^2, how alike the axes are, distance^2."""
    nx, ny, nz = axes[i]
    tx, ty, tz = _tangent(nx, ny, nz)
    bx, by, bz = ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx
    for j in range(len(neighbours)):
        q = neighbours[j]
        x, y, z = points[q, 0] - points[i, 0], points[q, 1] - points[i, 1], points[q, 2] - points[i, 2]
        u, v = x * tx + y * ty + z * tz, x * bx + y * by + z * bz
        local[0, j], local[1, j], local[2, j], local[3, j] = u, v, x * nx + y * ny + z * nz, u * u + v * v
        cosine = abs(axes[q, 0] * nx + axes[q, 1] * ny + axes[q, 2] * nz)
        local[4, j] = math.exp((cosine - 1) / AXIS_TOLERANCE)
        local[5, j] = x * x + y * y + z * z


@njit(cache=True)
def _fit_point(local, sizes, iterations, patches, leverage):
    """The patches at one point, as in `fit_patches`; gives the scale of the first one's residuals."""
    weight = np.empty(local.shape[1])
    moments = np.empty(MOMENTS)
    matrix, right = np.empty((TERMS, TERMS)), np.empty(TERMS)
    patch = np.zeros(TERMS)  # in the points' unit of length, not in h
    spread = scale = 0.0
    for m in range(len(sizes)):
        near = local[:, : sizes[m]]
        h = REACH * math.sqrt(near[5, -1]) + 1e-300
        powers = np.array([h, 1.0, 1.0, 1 / h, 1 / h, 1 / h])
        for iteration in range(iterations):
            plain = iteration == 0
            weigh(near, h, patch, 0.0 if plain else 1 / (TUKEY * spread) ** 2, weight)
            sum_moments(near, h, weight, moments)
            if not solve(moments, matrix, right):
                return scale
            patch = right * powers
            spread = _mean_residual(near, h, patch, np.inf if plain else 2.5 * spread) + 1e-9 * h
            if m == 0:
                scale = spread
        patches[m] = patch[:3]
        right[:] = 0.0
        right[0] = 1.0
        _substitute(matrix, right)
        leverage[m] = min(right[0], 0.999)
    return scale


@njit(cache=True, fastmath=True)
def weigh(near, h, patch, robust, weight):
    """The product of the three factors; `robust` is 1 / (3 s)^2, or 0 for the first two factors alone."""
    a, b, c, d, e, f = patch
    inverse = 1 / (h * h)
    for j in range(near.shape[1]):
        u, v = near[0, j], near[1, j]
        residual = near[2, j] - (a + b * u + c * v + d * u * u + e * u * v + f * v * v)
        kernel = max(0.0, 1 - near[3, j] * inverse)
        tukey = max(0.0, 1 - residual * residual * robust)
        weight[j] = kernel * kernel * near[4, j] * tukey * tukey


@njit(cache=True, fastmath=True)
def sum_moments(near, h, weight, moments):
    """Sums of w u^a v^b for a + b = 0, 1, .. 4 (a descending), then of w z u^a v^b for a + b = 0, 1, 2, all in h."""
    m00 = m10 = m01 = m20 = m11 = m02 = m30 = m21 = m12 = m03 = m40 = m31 = m22 = m13 = m04 = 0.0
    z00 = z10 = z01 = z20 = z11 = z02 = 0.0
    inverse = 1 / h
    for j in range(near.shape[1]):
        w, u, v, z = weight[j], near[0, j] * inverse, near[1, j] * inverse, near[2, j] * inverse
        wu, wv, wz = w * u, w * v, w * z
        wuu, wuv, wvv = wu * u, wu * v, wv * v
        wuuu, wuuv, wuvv, wvvv = wuu * u, wuu * v, wuv * v, wvv * v
        m00 += w
        m10 += wu
        m01 += wv
        m20 += wuu
        m11 += wuv
        m02 += wvv
        m30 += wuuu
        m21 += wuuv
        m12 += wuvv
        m03 += wvvv
        m40 += wuuu * u
        m31 += wuuu * v
        m22 += wuuv * v
        m13 += wuvv * v
        m04 += wvvv * v
        z00 += wz
        z10 += wz * u
        z01 += wz * v
        z20 += wuu * z
        z11 += wuv * z
        z02 += wvv * z
    moments[:15] = (m00, m10, m01, m20, m11, m02, m30, m21, m12, m03, m40, m31, m22, m13, m04)
    moments[15:] = (z00, z10, z01, z20, z11, z02)


@njit(cache=True, fastmath=True)
def _mean_residual(near, h, patch, cap):
    """The scale of the residuals, without robust weights: their mean size, each capped."""
    a, b, c, d, e, f = patch
    inverse = 1 / (h * h)
    total, weights = 0.0, 1e-300
    for j in range(near.shape[1]):
        u, v = near[0, j], near[1, j]
        residual = abs(near[2, j] - (a + b * u + c * v + d * u * u + e * u * v + f * v * v))
        kernel = max(0.0, 1 - near[3, j] * inverse)
        weight = kernel * kernel * near[4, j]
        total += weight * min(residual, cap)
        weights += weight
    return math.sqrt(math.pi / 2) * total / weights


@njit(cache=True)
def solve(moments, matrix, right):
    """Fills and factorizes the normal equations, and solves them into `right`; False where they are singular."""
    entry = 0
    for i in range(TERMS):
        for j in range(i + 1):
            matrix[i, j] = moments[NORMAL_EQUATIONS[entry]]
            entry += 1
        matrix[i, i] += moments[0] * (1e-9 if i == 0 else RIDGE)
        right[i] = moments[15 + i]
    if not _factorize(matrix):
        return False
    _substitute(matrix, right)
    return True


@njit(cache=True)
def _factorize(matrix):
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
def _substitute(factor, right):
    """Solves with Cholesky's factor, in place."""
    for i in range(TERMS):
        for k in range(i):
            right[i] -= factor[i, k] * right[k]
        right[i] /= factor[i, i]
    for i in range(TERMS - 1, -1, -1):
        for k in range(i + 1, TERMS):
            right[i] -= factor[k, i] * right[k]
        right[i] /= factor[i, i]


@njit(cache=True)
def tangents(axes):
    """The directions u and v of the patches at points with these axes: (n, 3) each."""
    along = np.empty_like(axes)
    across = np.empty_like(axes)
    for i in range(len(axes)):
        x, y, z = axes[i]
        a, b, c = _tangent(x, y, z)
        along[i] = (a, b, c)
        across[i] = (y * c - z * b, z * a - x * c, x * b - y * a)
    return along, across
