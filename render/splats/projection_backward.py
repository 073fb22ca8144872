"""The way back of `projection.py`: from the gradients of the records to those of the Gaussians and the camera.

Each step takes the gradient of what it made and gives that of what it was made of; `to_x` is the gradient to x.
"""

from __future__ import annotations

import math

import numpy as np

from render.splats.compilation import CAREFUL, kernel
from render.splats.harmonics import basis_gradient, fill_basis
from render.splats.projection import (
    axes_of,
    camera_coordinates,
    camera_of,
    covariance,
    direction_of,
    footprint_of,
    plane_of,
    scales_of,
    thinnest,
    unit_quaternion,
)
from render.splats.records import (
    CENTER_X,
    CENTER_Y,
    COLOR,
    CONIC_A,
    CONIC_K,
    CONIC_R,
    LOG_OPACITY,
    MOMENTS,
)
from render.splats.vectors import dot, minus, plus, row, scaled, times

F = np.float32

# What a chunk of Gaussians sends to the camera: 3x4 of the view, 3 of the position, fx, fy, cx, cy.
CHUNK = 512
CAMERA, POSITION, LENS = 19, 12, 15


@kernel(fastmath=CAREFUL)
def project_backward(
    first, end, means, log_scales, quaternions, opacity_logits, sh, degree, view, position, lens, antialiased,
    records, hits, gradients,
    to_means, to_log_scales, to_quaternions, to_opacity_logits, to_sh, to_camera,
):  # fmt: skip
    """From `gradients` of the records (n, MOMENTS + channels) to those of the Gaussians, `to_...`, zeros before,
    for the chunks [first, end) of CHUNK Gaussians.

    Channels are the colour's 3, or 8 with depth, normal and alpha. `to_camera` (chunks, CAMERA) gets each chunk's sums.
    """
    geometry = gradients.shape[1] > MOMENTS + 3
    turn, shift, position, lens = camera_of(view, position, lens)
    basis = np.empty(16, F)
    for chunk in range(first, end):
        for i in range(chunk * CHUNK, min(means.shape[0], (chunk + 1) * CHUNK)):
            if hits[i] == 0:
                continue
            x, y, z = camera_coordinates(turn, shift, means, i)
            x, y, z = F(x), F(y), F(z)
            axes, scales, plane = axes_of(quaternions, i), scales_of(log_scales, i), plane_of(x, y, z, lens, turn)
            footprint = footprint_of(plane, axes, scales)
            direction, inverse_distance = direction_of(means, i, position)
            # opacity = sigmoid(logit): d log(opacity) / d logit = 1 - opacity
            to_opacity_logits[i] = gradients[i, LOG_OPACITY] / (F(1) + math.exp(opacity_logits[i]))
            to_p_x, to_p_y = _footprint_gradient(records, gradients, i, footprint, antialiased)
            to_scales = plus(times(to_p_x, footprint[0]), times(to_p_y, footprint[1]))
            to_log_scales[i, 0], to_log_scales[i, 1], to_log_scales[i, 2] = to_scales
            to_plane, to_axes = _product_gradient(plane, axes, times(to_p_x, scales), times(to_p_y, scales))
            to_depth = F(0)
            if geometry:
                to_depth = gradients[i, MOMENTS + 3]
                to_normal = (gradients[i, MOMENTS + 4], gradients[i, MOMENTS + 5], gradients[i, MOMENTS + 6])
                to_axes = _normal_gradient(axes, scales, direction, to_normal, to_axes)
            _quaternion_gradient(quaternions, i, to_axes, to_quaternions)
            _camera_gradient(x, y, z, means, lens, turn, gradients, i, to_plane, to_depth, to_means, to_camera, chunk)
            _color_gradient(
                direction, inverse_distance, degree, sh, records, gradients, i, basis, to_sh, to_means, to_camera, chunk
            )


@kernel(fastmath=CAREFUL)
def _footprint_gradient(records, gradients, i, footprint, antialiased):
    """From the conic (and, antialiased, the opacity) to the rows of the footprint P."""
    p_x, p_y = footprint
    a, k, r = records[i, CONIC_A], records[i, CONIC_K], records[i, CONIC_R]
    # A = 1 / (cov_xx + K cov_xy), K = -cov_xy / cov_yy, R = 1 / cov_yy, cov = P P^T + 0.3 I
    to_xx, to_k, to_yy = -a * a * gradients[i, CONIC_A], -r * gradients[i, CONIC_K], -r * r * gradients[i, CONIC_R]
    along = plus(p_x, scaled(k, p_y))
    to_p_x = plus(scaled(F(2) * to_xx, along), scaled(to_k, p_y))
    to_p_y = plus(scaled(k, to_p_x), plus(scaled(to_k, along), scaled(F(2) * to_yy, p_y)))
    if antialiased:
        # log of the compensation = (log det(P P^T) - log det(cov)) / 2, and d log det(M) = M^-1
        sharp_xx, sharp_xy, sharp_yy, sharp_det = covariance(p_x, p_y)
        to_log = gradients[i, LOG_OPACITY]
        xx, xy = to_log * (sharp_yy / sharp_det - a), to_log * (-sharp_xy / sharp_det - a * k)
        yy = to_log * (sharp_xx / sharp_det - (a * k * k + r))
        to_p_x = plus(to_p_x, plus(scaled(xx, p_x), scaled(xy, p_y)))
        to_p_y = plus(to_p_y, plus(scaled(xy, p_x), scaled(yy, p_y)))
    return to_p_x, to_p_y


@kernel(fastmath=CAREFUL)
def _product_gradient(plane, axes, to_n_x, to_n_y):
    """From N = T R to the rows of T and the columns of R."""
    t_x, t_y = plane
    a, b, c = axes
    to_t_x = plus(plus(scaled(to_n_x[0], a), scaled(to_n_x[1], b)), scaled(to_n_x[2], c))
    to_t_y = plus(plus(scaled(to_n_y[0], a), scaled(to_n_y[1], b)), scaled(to_n_y[2], c))
    to_axes = (
        plus(scaled(to_n_x[0], t_x), scaled(to_n_y[0], t_y)),
        plus(scaled(to_n_x[1], t_x), scaled(to_n_y[1], t_y)),
        plus(scaled(to_n_x[2], t_x), scaled(to_n_y[2], t_y)),
    )
    return (to_t_x, to_t_y), to_axes


@kernel(fastmath=CAREFUL)
def _normal_gradient(axes, scales, direction, to_normal, to_axes):
    """`to_axes` with what the normal, the thinnest axis, adds."""
    which, sign, _ = thinnest(axes, scales, direction)
    to_a, to_b, to_c = to_axes
    to_axis = scaled(sign, to_normal)
    if which == 0:
        to_a = plus(to_a, to_axis)
    elif which == 1:
        to_b = plus(to_b, to_axis)
    else:
        to_c = plus(to_c, to_axis)
    return to_a, to_b, to_c


@kernel(fastmath=CAREFUL)
def _quaternion_gradient(quaternions, i, to_axes, to_quaternions):
    """From the axes to the quaternion as stored, whose length makes no difference."""
    w, x, y, z, inverse = unit_quaternion(quaternions, i)
    (g00, g10, g20), (g01, g11, g21), (g02, g12, g22) = to_axes
    gw = F(2) * (x * (g21 - g12) + y * (g02 - g20) + z * (g10 - g01))
    gx = F(2) * (y * (g01 + g10) + z * (g02 + g20) + w * (g21 - g12)) - F(4) * x * (g11 + g22)
    gy = F(2) * (x * (g01 + g10) + z * (g12 + g21) + w * (g02 - g20)) - F(4) * y * (g00 + g22)
    gz = F(2) * (x * (g02 + g20) + y * (g12 + g21) + w * (g10 - g01)) - F(4) * z * (g00 + g11)
    along = gw * w + gx * x + gy * y + gz * z
    to_quaternions[i, 0] = (gw - along * w) * inverse
    to_quaternions[i, 1] = (gx - along * x) * inverse
    to_quaternions[i, 2] = (gy - along * y) * inverse
    to_quaternions[i, 3] = (gz - along * z) * inverse


@kernel(fastmath=CAREFUL)
def _camera_gradient(x, y, z, means, lens, turn, gradients, i, to_plane, to_depth, to_means, to_camera, chunk):
    """From the centre, the depth and T = J W to the mean, and what the view and the lens get of them."""
    u, v = x / z, y / z
    flat_u, flat_v = min(max(u, lens[4]), lens[5]), min(max(v, lens[6]), lens[7])
    free_u, free_v = F(1) if u == flat_u else F(0), F(1) if v == flat_v else F(0)
    fx_z, fy_z = lens[0] / z, lens[1] / z
    to_center_x, to_center_y = gradients[i, CENTER_X], gradients[i, CENTER_Y]
    to_t_x, to_t_y = to_plane
    # to J = (to T) W^T, of which four entries are not constant, and to W = J^T (to T)
    to_j00, to_j02 = dot(to_t_x, turn[0]), dot(to_t_x, turn[2])
    to_j11, to_j12 = dot(to_t_y, turn[1]), dot(to_t_y, turn[2])
    to_w_x, to_w_y = scaled(fx_z, to_t_x), scaled(fy_z, to_t_y)
    to_w_z = minus(scaled(-flat_u, to_w_x), scaled(flat_v, to_w_y))
    # where u is kept at a limit, fx u holds cx in place of fx
    to_camera[chunk, LENS] += to_center_x * u + (to_j00 - free_u * u * to_j02) / z
    to_camera[chunk, LENS + 1] += to_center_y * v + (to_j11 - free_v * v * to_j12) / z
    to_camera[chunk, LENS + 2] += to_center_x + (F(1) - free_u) * to_j02 / z
    to_camera[chunk, LENS + 3] += to_center_y + (F(1) - free_v) * to_j12 / z
    to_u = lens[0] * to_center_x - free_u * fx_z * to_j02
    to_v = lens[1] * to_center_y - free_v * fy_z * to_j12
    to_inverse_z = lens[0] * (to_j00 - flat_u * to_j02) + lens[1] * (to_j11 - flat_v * to_j12)
    to_x, to_y, to_z = to_u / z, to_v / z, to_depth - (to_u * u + to_v * v + to_inverse_z / z) / z
    # c = W m + t
    mean = row(means, i)
    to_mean = plus(plus(scaled(to_x, turn[0]), scaled(to_y, turn[1])), scaled(to_z, turn[2]))
    to_means[i, 0], to_means[i, 1], to_means[i, 2] = to_mean
    _add_row(to_camera, chunk, 0, plus(to_w_x, scaled(to_x, mean)), to_x)
    _add_row(to_camera, chunk, 4, plus(to_w_y, scaled(to_y, mean)), to_y)
    _add_row(to_camera, chunk, 8, plus(to_w_z, scaled(to_z, mean)), to_z)


@kernel(fastmath=CAREFUL)
def _add_row(to_camera, chunk, column, to_turn, to_shift):
    to_camera[chunk, column] += to_turn[0]
    to_camera[chunk, column + 1] += to_turn[1]
    to_camera[chunk, column + 2] += to_turn[2]
    to_camera[chunk, column + 3] += to_shift


@kernel(fastmath=CAREFUL)
def _color_gradient(
    direction, inverse_distance, degree, sh, records, gradients, i, basis, to_sh, to_means, to_camera, chunk
):
    """From the colour to the harmonics, and through the direction to the mean and the camera's position."""
    # the colour was clamped at 0
    red = gradients[i, MOMENTS] if records[i, COLOR] > F(0) else F(0)
    green = gradients[i, MOMENTS + 1] if records[i, COLOR + 1] > F(0) else F(0)
    blue = gradients[i, MOMENTS + 2] if records[i, COLOR + 2] > F(0) else F(0)
    x, y, z = direction
    fill_basis(x, y, z, degree, basis)
    for k in range((degree + 1) * (degree + 1)):
        to_sh[i, k, 0], to_sh[i, k, 1], to_sh[i, k, 2] = basis[k] * red, basis[k] * green, basis[k] * blue
        basis[k] = sh[i, k, 0] * red + sh[i, k, 1] * green + sh[i, k, 2] * blue  # from here on: to the basis
    if degree == 0:
        return
    to_direction = basis_gradient(x, y, z, degree, basis)
    across = minus(to_direction, scaled(dot(to_direction, direction), direction))
    moved = scaled(inverse_distance, across)
    for k in range(3):
        to_means[i, k] += moved[k]
        to_camera[chunk, POSITION + k] -= moved[k]
