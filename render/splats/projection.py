"""Gaussians to the picture plane (Zwicker et al., EWA Splatting, 2001; Kerbl et al., 2023).

A Gaussian with mean m, rotation R and scales s has the covariance R S S^T R^T. The camera (W, t) takes m to
c = W m + t = (x, y, z), and the lens takes c to the pixel (fx x/z + cx, fy y/z + cy), whose derivative is the 2x3

    J = [[fx/z, 0, -fx u/z], [0, fy/z, -fy v/z]],   u = x/z, v = y/z, kept near the picture (`lens_of`).

With T = J W and the footprint P = T R S the covariance in the picture is P P^T + 0.3 I (the blur of a pixel).

A user's file may hold anything: a Gaussian that cannot be seen, or any of whose numbers is not finite, gets no hits.
"""

from __future__ import annotations

import math

import numpy as np

from render.splats.compilation import CAREFUL, kernel
from render.splats.harmonics import fill_basis
from render.splats.records import (
    CENTER_X,
    CENTER_Y,
    COLOR,
    CONIC_A,
    CONIC_K,
    CONIC_R,
    DEPTH,
    LOG_255,
    LOG_OPACITY,
    NORMAL,
    ONE,
    REST_X,
    REST_Y,
    TILE,
)
from render.splats.vectors import cross, dot, minus, row, scaled, times

F = np.float32
NEAR = F(0.01)
BLUR = F(0.3)
LARGEST = F(1e30)


@kernel(fastmath=CAREFUL)
def project(
    first, end, means, log_scales, quaternions, opacity_logits, sh, degree, view, position, lens, size, antialiased,
    records, boxes, hits,
):  # fmt: skip
    """Fills `records` (n, 16), `boxes` (n, 4), the columns and rows [x0, x1) x [y0, y1) of tiles that a Gaussian may
    touch, and `hits` (n,), how many tiles these are, 0 for one that is left out; of the Gaussians [first, end).

    `view` is world-to-camera, `position` the camera's place in the world, `lens` as `lens_of` gives it, `size` width
    and height.
    """
    turn, shift, position, lens = camera_of(view, position, lens)
    basis = np.empty(16, F)
    for i in range(np.uint64(first), np.uint64(end)):
        hits[i] = 0
        x, y, z = camera_coordinates(turn, shift, means, i)
        if not (z > NEAR and z < LARGEST and abs(opacity_logits[i]) < LARGEST):
            continue
        axes, scales = axes_of(quaternions, i), scales_of(log_scales, i)
        footprint = footprint_of(plane_of(F(x), F(y), F(z), lens, turn), axes, scales)
        touched = _project_shape(x, y, z, opacity_logits[i], footprint, lens, size, antialiased, records, boxes, i)
        if touched == 0:
            continue
        direction, _ = direction_of(means, i, position)
        fill_basis(direction[0], direction[1], direction[2], degree, basis)
        _fill_color(sh, i, degree, basis, records)
        _, sign, axis = thinnest(axes, scales, direction)
        records[i, NORMAL], records[i, NORMAL + 1], records[i, NORMAL + 2] = scaled(sign, axis)
        hits[i] = touched if _is_finite(records, i) else 0
        for c in range(3):
            records[i, COLOR + c] = max(records[i, COLOR + c], F(0))


def lens_of(intrinsics: np.ndarray, width: int, height: int) -> np.ndarray:
    """fx, fy, cx, cy, and the least and largest u and v at which the projection is linearised: 0.15 pictures
    beyond its border."""
    fx, fy, cx, cy = (
        intrinsics[0, 0],
        intrinsics[1, 1],
        intrinsics[0, 2],
        intrinsics[1, 2],
    )
    beyond_x, beyond_y = 0.15 * width / fx, 0.15 * height / fy
    return np.array(
        [
            fx, fy, cx, cy,
            -cx / fx - beyond_x, (width - cx) / fx + beyond_x, -cy / fy - beyond_y, (height - cy) / fy + beyond_y,
        ],
        F,
    )  # fmt: skip


@kernel(fastmath=CAREFUL)
def _project_shape(x, y, z, opacity_logit, footprint, lens, size, antialiased, records, boxes, i):
    """Centre, conic, opacity and depth of record i, and its box of tiles; returns how many tiles it touches.

    x, y, z are float64."""
    sharp_xx, sharp_xy, sharp_yy, sharp_det = covariance(footprint[0], footprint[1])
    xx, yy = sharp_xx + BLUR, sharp_yy + BLUR
    det = sharp_det + BLUR * (sharp_xx + sharp_yy) + BLUR * BLUR
    log_opacity = -math.log(F(1) + math.exp(-opacity_logit))
    if antialiased:
        log_opacity += F(0.5) * math.log(sharp_det / det)
    twice_reach = F(2) * (log_opacity + LOG_255)  # the squared Mahalanobis distance at which alpha is 1/255
    if not twice_reach > F(0):
        return 0
    exact_x, exact_y = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
    center_x, center_y = F(exact_x), F(exact_y)
    touched = _fill_box(center_x, center_y, math.sqrt(twice_reach * xx), math.sqrt(twice_reach * yy), size, boxes, i)
    if touched == 0:
        return 0
    records[i, CENTER_X], records[i, CENTER_Y] = center_x, center_y
    records[i, REST_X], records[i, REST_Y] = exact_x - np.float64(center_x), exact_y - np.float64(center_y)
    records[i, CONIC_A], records[i, CONIC_K], records[i, CONIC_R] = yy / det, -sharp_xy / yy, F(1) / yy
    records[i, LOG_OPACITY], records[i, DEPTH], records[i, ONE] = log_opacity, z, F(1)
    return touched


@kernel(fastmath=CAREFUL)
def _fill_box(center_x, center_y, reach_x, reach_y, size, boxes, i):
    """The tiles that hold pixel centres within the ellipse's box; returns how many.

    The bounds stay floats until they lie in the picture: a float beyond the range of integers has none."""
    x0 = max(F(0), np.ceil(center_x - reach_x - F(0.5)))
    y0 = max(F(0), np.ceil(center_y - reach_y - F(0.5)))
    x1 = min(F(size[0]), np.floor(center_x + reach_x + F(0.5)))
    y1 = min(F(size[1]), np.floor(center_y + reach_y + F(0.5)))
    if not (x0 < x1 and y0 < y1):
        return 0
    boxes[i, 0], boxes[i, 1] = int(x0) // TILE, int(y0) // TILE
    boxes[i, 2], boxes[i, 3] = (
        (int(x1) + TILE - 1) // TILE,
        (int(y1) + TILE - 1) // TILE,
    )
    return (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])


@kernel(fastmath=CAREFUL)
def _fill_color(sh, i, degree, basis, records):
    """0.5 + the harmonics' sum."""
    red, green, blue = F(0.5), F(0.5), F(0.5)
    for k in range((degree + 1) * (degree + 1)):
        red += basis[k] * sh[i, k, 0]
        green += basis[k] * sh[i, k, 1]
        blue += basis[k] * sh[i, k, 2]
    records[i, COLOR], records[i, COLOR + 1], records[i, COLOR + 2] = red, green, blue


@kernel(fastmath=CAREFUL)
def _is_finite(records, i):
    """Whether the numbers of record i are finite, and not so large that sums of them would not be."""
    total = F(0)
    for k in range(NORMAL + 3):
        total += abs(records[i, k])
    return total < LARGEST


@kernel(fastmath=CAREFUL)
def camera_of(view, position, lens):
    """The rows of W, t, the camera's position and the lens as tuples: no store to an array can change them."""
    turn, shift = (row(view, 0), row(view, 1), row(view, 2)), (view[0, 3], view[1, 3], view[2, 3])
    limits = (lens[4], lens[5], lens[6], lens[7])
    return turn, shift, (position[0], position[1], position[2]), (lens[0], lens[1], lens[2], lens[3]) + limits


@kernel(fastmath=CAREFUL)
def camera_coordinates(turn, shift, means, i):
    """c = W m + t in float64: far from the world's origin W m and t cancel."""
    mean = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
    return dot(turn[0], mean) + shift[0], dot(turn[1], mean) + shift[1], dot(turn[2], mean) + shift[2]


@kernel(fastmath=CAREFUL)
def unit_quaternion(quaternions, i):
    """(w, x, y, z) of unit length, and one over the length that it had."""
    w, x, y, z = quaternions[i, 0], quaternions[i, 1], quaternions[i, 2], quaternions[i, 3]
    inverse = F(1) / math.sqrt(w * w + x * x + y * y + z * z)
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@kernel(fastmath=CAREFUL)
def axes_of(quaternions, i):
    """The Gaussian's three axes in the world: the columns of R."""
    w, x, y, z, _ = unit_quaternion(quaternions, i)
    return (
        (F(1) - F(2) * (y * y + z * z), F(2) * (x * y + w * z), F(2) * (x * z - w * y)),
        (F(2) * (x * y - w * z), F(1) - F(2) * (x * x + z * z), F(2) * (y * z + w * x)),
        (F(2) * (x * z + w * y), F(2) * (y * z - w * x), F(1) - F(2) * (x * x + y * y)),
    )


@kernel(fastmath=CAREFUL)
def scales_of(log_scales, i):
    """Standard deviations along the axes."""
    return math.exp(log_scales[i, 0]), math.exp(log_scales[i, 1]), math.exp(log_scales[i, 2])


@kernel(fastmath=CAREFUL)
def plane_of(x, y, z, lens, turn):
    """The two rows of T = J W: where the picture of a point moves with a step in the world."""
    u = min(max(x / z, lens[4]), lens[5])
    v = min(max(y / z, lens[6]), lens[7])
    return (
        scaled(lens[0] / z, minus(turn[0], scaled(u, turn[2]))),
        scaled(lens[1] / z, minus(turn[1], scaled(v, turn[2]))),
    )


@kernel(fastmath=CAREFUL)
def footprint_of(plane, axes, scales):
    """The two rows of P = T R S."""
    a, b, c = axes
    t_x, t_y = plane
    return times((dot(t_x, a), dot(t_x, b), dot(t_x, c)), scales), times(
        (dot(t_y, a), dot(t_y, b), dot(t_y, c)), scales
    )


@kernel(fastmath=CAREFUL)
def covariance(p_x, p_y):
    """P P^T (xx, xy, yy) and its determinant |p_x x p_y|^2, which unlike xx yy - xy^2 cancels nothing."""
    across = cross(p_x, p_y)
    return dot(p_x, p_x), dot(p_x, p_y), dot(p_y, p_y), dot(across, across)


@kernel(fastmath=CAREFUL)
def direction_of(means, i, position):
    """The unit vector from the camera to the mean, and one over the distance."""
    away = minus(row(means, i), position)
    inverse = F(1) / math.sqrt(dot(away, away))
    return scaled(inverse, away), inverse


@kernel(fastmath=CAREFUL)
def thinnest(axes, scales, direction):
    """Which axis has the least scale, the sign that turns it towards the camera, and the axis."""
    which, axis = 0, axes[0]
    if scales[1] < scales[0] and scales[1] <= scales[2]:
        which, axis = 1, axes[1]
    elif scales[2] < scales[0] and scales[2] < scales[1]:
        which, axis = 2, axes[2]
    return which, F(-1) if dot(axis, direction) > F(0) else F(1), axis
