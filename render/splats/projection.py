"""Gaussians to the picture plane, and their gradients back (Zwicker et al., EWA Splatting, 2001; Kerbl et al., 2023).

A Gaussian with mean m, rotation R and scales s has the covariance R S S^T R^T. The camera (W, t) takes m to
c = W m + t = (x, y, z), and the lens takes c to the pixel (fx x/z + cx, fy y/z + cy), whose derivative is the 2x3

    J = [[fx/z, 0, -fx u/z], [0, fy/z, -fy v/z]],   u = x/z, v = y/z, kept within 1.3 times the field of view.

With T = J W and the footprint P = T R S the covariance in the picture is P P^T + 0.3 I (the blur of a pixel), its
inverse the conic [[A, B], [B, C]]. What the blending reads of a Gaussian is a record of 16 numbers, one cache line;
its columns are named below. A Gaussian that cannot be seen, or any of whose numbers is not finite, gets an empty box.

numba keeps compiled kernels by the date of their own file: after a change of the columns, touch `blending.py` too.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from render.splats.compilation import CAREFUL, kernel

F = np.float32
NEAR = F(0.01)
BLUR = F(0.3)
LOG_255 = F(math.log(255))  # a Gaussian counts where its alpha is at least 1/255
LARGEST = F(1e30)
TILE = 16  # pixels along the side of a tile
CHUNK = 512  # Gaussians that a thread takes at a time

RECORD = 16
CENTER_X, CENTER_Y, CONIC_XX, CONIC_XY, CONIC_YY, LOG_OPACITY, _, COLOR = range(8)
DEPTH, NORMAL, COVARIANCE_XX, COVARIANCE_YY = 10, 11, 14, 15

# Columns of the gradients that come back from the blending: the record's first six, then one for each channel.
MOMENTS = 6

# Real spherical harmonics: the constants before the polynomials of each degree.
SH0, SH1 = F(0.28209479177387814), F(0.4886025119029199)
SH2_XY, SH2_ZZ, SH2_XX = F(1.0925484305920792), F(0.31539156525252005), F(0.5462742152960396)
SH3_A, SH3_B, SH3_C = F(0.5900435899266435), F(2.890611442640554), F(0.4570457994644658)
SH3_D, SH3_E = F(0.3731763325901154), F(1.445305721320277)


@kernel(parallel=True, fastmath=CAREFUL)
def project(
    means, log_scales, quaternions, opacity_logits, sh, degree, view, position, lens, size, antialiased,
    records, boxes, hits,
):  # fmt: skip
    """Fills `records` (n, 16), `boxes` (n, 4), the columns and rows [x0, x1) x [y0, y1) of tiles that a Gaussian may touch,
    and `hits` (n,), how many tiles these are; 0 for one that is left out.

    `view` is world-to-camera, `position` the camera's place in the world, `lens` as `lens_of` gives it, `size` width
    and height.
    """
    n = means.shape[0]
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        rotation, plane, footprint = np.empty((3, 3), F), np.empty((2, 3), F), np.empty((2, 3), F)
        basis, direction = np.empty(16, F), np.empty(3, F)
        for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            hits[i] = 0
            x, y, z = _camera_coordinates(view, means, i)
            if not (z > NEAR and z < LARGEST):
                continue
            _fill_rotation(quaternions, i, rotation)
            _fill_plane(x, y, z, lens, view, plane)
            for k in range(3):
                scale = math.exp(log_scales[i, k])
                for r in range(2):
                    footprint[r, k] = scale * (
                        plane[r, 0] * rotation[0, k] + plane[r, 1] * rotation[1, k] + plane[r, 2] * rotation[2, k]
                    )
            sharp_xx, sharp_xy, sharp_yy, sharp_det = _covariance(footprint)
            xx, yy = sharp_xx + BLUR, sharp_yy + BLUR
            det = sharp_det + BLUR * (sharp_xx + sharp_yy) + BLUR * BLUR
            log_opacity = -math.log(F(1) + math.exp(-opacity_logits[i]))
            if antialiased:
                log_opacity += F(0.5) * math.log(sharp_det / det)
            reach = log_opacity + LOG_255  # exp(-reach) opacity = 1/255
            if not reach > F(0):
                continue
            center_x, center_y = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
            touched = _fill_box(center_x, center_y, math.sqrt(F(2) * reach * xx), math.sqrt(F(2) * reach * yy), size, boxes, i)
            if touched == 0:
                continue
            record = records[i]
            record[CENTER_X], record[CENTER_Y] = center_x, center_y
            record[CONIC_XX], record[CONIC_XY], record[CONIC_YY] = yy / det, -sharp_xy / det, xx / det
            record[LOG_OPACITY] = log_opacity
            record[DEPTH], record[COVARIANCE_XX], record[COVARIANCE_YY] = z, xx, yy
            _fill_direction(means, i, position, direction)
            _fill_basis(direction[0], direction[1], direction[2], degree, basis)
            _fill_color(sh, i, degree, basis, record)
            axis, sign = _normal(rotation, log_scales, i, direction)
            for r in range(3):
                record[NORMAL + r] = sign * rotation[r, axis]
            hits[i] = touched if _is_finite(record) else 0
            for c in range(3):
                record[COLOR + c] = max(record[COLOR + c], F(0))


@kernel(parallel=True, fastmath=CAREFUL)
def project_backward(
    means, log_scales, quaternions, opacity_logits, sh, degree, view, position, lens, antialiased,
    records, hits, gradients,
    to_means, to_log_scales, to_quaternions, to_opacity_logits, to_sh, to_camera,
):  # fmt: skip
    """From the gradients of the records (n, 6 + channels) to those of the Gaussians, written to `to_...`.

    Channels are the colour's 3, or 7 with depth and normal. `to_camera` (chunks, 20) gets sums for each chunk: 3x4 of
    the view, 3 of the position, 5 of nothing or the lens' fx, fy, cx, cy.
    """
    n = means.shape[0]
    geometry = gradients.shape[1] > MOMENTS + 3
    for chunk in prange((n + CHUNK - 1) // CHUNK):
        rotation, plane, footprint = np.empty((3, 3), F), np.empty((2, 3), F), np.empty((2, 3), F)
        to_rotation, to_plane, to_footprint = np.empty((3, 3), F), np.empty((2, 3), F), np.empty((2, 3), F)
        basis, direction, scales, to_mean = np.empty(16, F), np.empty(3, F), np.empty(3, F), np.empty(3, F)
        camera = np.zeros(19)
        for i in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
            if hits[i] == 0:
                continue
            record, gradient = records[i], gradients[i]
            x, y, z = _camera_coordinates(view, means, i)
            length = _fill_rotation(quaternions, i, rotation)
            _fill_plane(x, y, z, lens, view, plane)
            for k in range(3):
                scales[k] = math.exp(log_scales[i, k])
                for r in range(2):
                    footprint[r, k] = scales[k] * (
                        plane[r, 0] * rotation[0, k] + plane[r, 1] * rotation[1, k] + plane[r, 2] * rotation[2, k]
                    )
            # opacity = sigmoid(logit): d log(opacity) / d logit = 1 - opacity
            to_opacity_logits[i] = gradient[LOG_OPACITY] / (F(1) + math.exp(opacity_logits[i]))
            _footprint_gradient(record, gradient, footprint, antialiased, to_footprint)
            # P = N S with N = T R: to N, to R = T^T N and to T = N R^T
            for k in range(3):
                to_log_scales[i, k] = to_footprint[0, k] * footprint[0, k] + to_footprint[1, k] * footprint[1, k]
                to_footprint[0, k] *= scales[k]
                to_footprint[1, k] *= scales[k]
            for r in range(3):
                for k in range(3):
                    to_rotation[r, k] = plane[0, r] * to_footprint[0, k] + plane[1, r] * to_footprint[1, k]
            for r in range(2):
                for k in range(3):
                    to_plane[r, k] = (
                        to_footprint[r, 0] * rotation[k, 0]
                        + to_footprint[r, 1] * rotation[k, 1]
                        + to_footprint[r, 2] * rotation[k, 2]
                    )
            _fill_direction(means, i, position, direction)
            to_depth = F(0)
            if geometry:
                to_depth = gradient[MOMENTS + 3]
                axis, sign = _normal(rotation, log_scales, i, direction)
                for r in range(3):
                    to_rotation[r, axis] += sign * gradient[MOMENTS + 4 + r]
            _quaternion_gradient(quaternions, i, length, to_rotation, to_quaternions)
            to_x, to_y, to_z = _camera_gradient(x, y, z, lens, view, gradient, to_plane, camera)
            to_z += to_depth
            for r in range(3):
                to_mean[r] = view[0, r] * to_x + view[1, r] * to_y + view[2, r] * to_z
                camera[r] += to_x * means[i, r]
                camera[4 + r] += to_y * means[i, r]
                camera[8 + r] += to_z * means[i, r]
            camera[3] += to_x
            camera[7] += to_y
            camera[11] += to_z
            _color_gradient(means, i, position, direction, degree, sh, record, gradient, basis, to_sh, to_mean, camera)
            for r in range(3):
                to_means[i, r] = to_mean[r]
        to_camera[chunk] = camera


def lens_of(intrinsics: np.ndarray, width: int, height: int) -> np.ndarray:
    """fx, fy, cx, cy, and the least and largest u and v at which the projection is linearised: 0.3 half pictures beyond
    the border."""
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    beyond_x, beyond_y = 0.15 * width / fx, 0.15 * height / fy
    return np.array(
        [
            fx, fy, cx, cy,
            -cx / fx - beyond_x, (width - cx) / fx + beyond_x, -cy / fy - beyond_y, (height - cy) / fy + beyond_y,
        ],
        F,
    )  # fmt: skip


@kernel(fastmath=CAREFUL)
def _camera_coordinates(view, means, i):
    mx, my, mz = means[i, 0], means[i, 1], means[i, 2]
    return (
        view[0, 0] * mx + view[0, 1] * my + view[0, 2] * mz + view[0, 3],
        view[1, 0] * mx + view[1, 1] * my + view[1, 2] * mz + view[1, 3],
        view[2, 0] * mx + view[2, 1] * my + view[2, 2] * mz + view[2, 3],
    )


@kernel(fastmath=CAREFUL)
def _fill_rotation(quaternions, i, rotation):
    """The rotation matrix of the quaternion (w, x, y, z) made unit; returns one over the quaternion's length."""
    w, x, y, z = quaternions[i, 0], quaternions[i, 1], quaternions[i, 2], quaternions[i, 3]
    inverse = F(1) / math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    rotation[0, 0], rotation[0, 1], rotation[0, 2] = (
        F(1) - F(2) * (y * y + z * z),
        F(2) * (x * y - w * z),
        F(2) * (x * z + w * y),
    )
    rotation[1, 0], rotation[1, 1], rotation[1, 2] = (
        F(2) * (x * y + w * z),
        F(1) - F(2) * (x * x + z * z),
        F(2) * (y * z - w * x),
    )
    rotation[2, 0], rotation[2, 1], rotation[2, 2] = (
        F(2) * (x * z - w * y),
        F(2) * (y * z + w * x),
        F(1) - F(2) * (x * x + y * y),
    )
    return inverse


@kernel(fastmath=CAREFUL)
def _fill_plane(x, y, z, lens, view, plane):
    """T = J W."""
    u = min(max(x / z, lens[4]), lens[5])
    v = min(max(y / z, lens[6]), lens[7])
    for k in range(3):
        plane[0, k] = lens[0] / z * (view[0, k] - u * view[2, k])
        plane[1, k] = lens[1] / z * (view[1, k] - v * view[2, k])


@kernel(fastmath=CAREFUL)
def _covariance(p):
    """P P^T (xx, xy, yy) and its determinant: the sum of the squared 2x2 minors of P, which cancels nothing."""
    minor_a = p[0, 1] * p[1, 2] - p[0, 2] * p[1, 1]
    minor_b = p[0, 2] * p[1, 0] - p[0, 0] * p[1, 2]
    minor_c = p[0, 0] * p[1, 1] - p[0, 1] * p[1, 0]
    return (
        p[0, 0] * p[0, 0] + p[0, 1] * p[0, 1] + p[0, 2] * p[0, 2],
        p[0, 0] * p[1, 0] + p[0, 1] * p[1, 1] + p[0, 2] * p[1, 2],
        p[1, 0] * p[1, 0] + p[1, 1] * p[1, 1] + p[1, 2] * p[1, 2],
        minor_a * minor_a + minor_b * minor_b + minor_c * minor_c,
    )


@kernel(fastmath=CAREFUL)
def _fill_box(center_x, center_y, reach_x, reach_y, size, boxes, i):
    """The tiles that hold pixel centres within the ellipse's box; returns how many.

    The bounds stay floats until they lie in the picture: a float beyond the range of integers has none."""
    x0 = max(F(0), math.ceil(center_x - reach_x - F(0.5)))
    y0 = max(F(0), math.ceil(center_y - reach_y - F(0.5)))
    x1 = min(F(size[0]), math.floor(center_x + reach_x + F(0.5)))
    y1 = min(F(size[1]), math.floor(center_y + reach_y + F(0.5)))
    if not (x0 < x1 and y0 < y1):
        return 0
    boxes[i, 0], boxes[i, 1] = int(x0) // TILE, int(y0) // TILE
    boxes[i, 2], boxes[i, 3] = (int(x1) + TILE - 1) // TILE, (int(y1) + TILE - 1) // TILE
    return (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])


@kernel(fastmath=CAREFUL)
def _fill_direction(means, i, position, direction):
    """The unit vector from the camera to the mean; returns one over the distance."""
    dx, dy, dz = means[i, 0] - position[0], means[i, 1] - position[1], means[i, 2] - position[2]
    inverse = F(1) / math.sqrt(dx * dx + dy * dy + dz * dz)
    direction[0], direction[1], direction[2] = dx * inverse, dy * inverse, dz * inverse
    return inverse


@kernel(fastmath=CAREFUL)
def _normal(rotation, log_scales, i, direction):
    """The thinnest axis and the sign that turns it towards the camera."""
    axis = 0
    for k in range(1, 3):
        if log_scales[i, k] < log_scales[i, axis]:
            axis = k
    away = rotation[0, axis] * direction[0] + rotation[1, axis] * direction[1] + rotation[2, axis] * direction[2]
    return axis, F(-1) if away > F(0) else F(1)


@kernel(fastmath=CAREFUL)
def _fill_color(sh, i, degree, basis, record):
    """0.5 + the harmonics' sum."""
    red, green, blue = F(0.5), F(0.5), F(0.5)
    for k in range((degree + 1) * (degree + 1)):
        red += basis[k] * sh[i, k, 0]
        green += basis[k] * sh[i, k, 1]
        blue += basis[k] * sh[i, k, 2]
    record[COLOR], record[COLOR + 1], record[COLOR + 2] = red, green, blue


@kernel(fastmath=CAREFUL)
def _is_finite(record):
    total = F(0)
    for k in range(RECORD):
        if k != 6:
            total += abs(record[k])
    return total < LARGEST


@kernel(fastmath=CAREFUL)
def _footprint_gradient(record, gradient, p, antialiased, to_p):
    """From the conic (and, antialiased, the opacity) to the footprint P."""
    a, b, c = record[CONIC_XX], record[CONIC_XY], record[CONIC_YY]
    ga, gb, gc = gradient[CONIC_XX], F(0.5) * gradient[CONIC_XY], gradient[CONIC_YY]
    # Q = cov^-1: to cov = -Q (to Q) Q, all symmetric
    ua, ub, va, vb = a * ga + b * gb, a * gb + b * gc, b * ga + c * gb, b * gb + c * gc
    xx, xy, yy = -(ua * a + ub * b), -(ua * b + ub * c), -(va * b + vb * c)
    if antialiased:
        # log of the compensation = (log det(P P^T) - log det(cov)) / 2, and d log det(M) = M^-1
        sharp_xx, sharp_xy, sharp_yy, sharp_det = _covariance(p)
        half = F(0.5) * gradient[LOG_OPACITY]
        xx += half * (sharp_yy / sharp_det - a)
        xy += half * (-sharp_xy / sharp_det - b)
        yy += half * (sharp_xx / sharp_det - c)
    for k in range(3):
        to_p[0, k] = F(2) * (xx * p[0, k] + xy * p[1, k])
        to_p[1, k] = F(2) * (xy * p[0, k] + yy * p[1, k])


@kernel(fastmath=CAREFUL)
def _quaternion_gradient(quaternions, i, inverse, g, to_quaternions):
    """From the rotation matrix to the quaternion as stored, whose length makes no difference."""
    w, x, y, z = (
        quaternions[i, 0] * inverse, quaternions[i, 1] * inverse, quaternions[i, 2] * inverse, quaternions[i, 3] * inverse
    )  # fmt: skip
    gw = F(2) * (x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1]))
    gx = F(2) * (y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) + w * (g[2, 1] - g[1, 2])) - F(4) * x * (
        g[1, 1] + g[2, 2]
    )
    gy = F(2) * (x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) + w * (g[0, 2] - g[2, 0])) - F(4) * y * (
        g[0, 0] + g[2, 2]
    )
    gz = F(2) * (x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) + w * (g[1, 0] - g[0, 1])) - F(4) * z * (
        g[0, 0] + g[1, 1]
    )
    along = gw * w + gx * x + gy * y + gz * z
    to_quaternions[i, 0] = (gw - along * w) * inverse
    to_quaternions[i, 1] = (gx - along * x) * inverse
    to_quaternions[i, 2] = (gy - along * y) * inverse
    to_quaternions[i, 3] = (gz - along * z) * inverse


@kernel(fastmath=CAREFUL)
def _camera_gradient(x, y, z, lens, view, gradient, to_plane, camera):
    """From the pixel position and T = J W to the camera coordinates; adds what W and the lens get to `camera`."""
    u, v = x / z, y / z
    flat_u, flat_v = min(max(u, lens[4]), lens[5]), min(max(v, lens[6]), lens[7])
    j0, j1 = lens[0] / z, lens[1] / z
    # to J = (to T) W^T, of which four entries are not constant
    to_j0, to_j1, to_j02, to_j12 = F(0), F(0), F(0), F(0)
    for k in range(3):
        to_j0 += to_plane[0, k] * view[0, k]
        to_j1 += to_plane[1, k] * view[1, k]
        to_j02 += to_plane[0, k] * view[2, k]
        to_j12 += to_plane[1, k] * view[2, k]
        camera[k] += j0 * to_plane[0, k]
        camera[4 + k] += j1 * to_plane[1, k]
        camera[8 + k] -= j0 * flat_u * to_plane[0, k] + j1 * flat_v * to_plane[1, k]
    to_u = j0 * (z * gradient[CENTER_X] - (to_j02 if u == flat_u else F(0)))
    to_v = j1 * (z * gradient[CENTER_Y] - (to_j12 if v == flat_v else F(0)))
    to_inverse_z = lens[0] * (to_j0 - flat_u * to_j02) + lens[1] * (to_j1 - flat_v * to_j12)
    camera[15] += gradient[CENTER_X] * u + (to_j0 - (u * to_j02 if u == flat_u else F(0))) / z
    camera[16] += gradient[CENTER_Y] * v + (to_j1 - (v * to_j12 if v == flat_v else F(0))) / z
    # where u is kept at a limit, fx u holds cx in place of fx
    camera[17] += gradient[CENTER_X] + (F(0) if u == flat_u else to_j02 / z)
    camera[18] += gradient[CENTER_Y] + (F(0) if v == flat_v else to_j12 / z)
    return to_u / z, to_v / z, -(to_u * u + to_v * v + to_inverse_z / z) / z


@kernel(fastmath=CAREFUL)
def _color_gradient(means, i, position, direction, degree, sh, record, gradient, basis, to_sh, to_mean, camera):
    """From the colour to the harmonics, and through the direction to the mean and the camera's position."""
    x, y, z = direction[0], direction[1], direction[2]
    inverse = _fill_direction(means, i, position, direction)
    # the colour was clamped at 0
    red = gradient[MOMENTS] if record[COLOR] > F(0) else F(0)
    green = gradient[MOMENTS + 1] if record[COLOR + 1] > F(0) else F(0)
    blue = gradient[MOMENTS + 2] if record[COLOR + 2] > F(0) else F(0)
    _fill_basis(x, y, z, degree, basis)
    count = (degree + 1) * (degree + 1)
    for k in range(count):
        to_sh[i, k, 0], to_sh[i, k, 1], to_sh[i, k, 2] = basis[k] * red, basis[k] * green, basis[k] * blue
        basis[k] = sh[i, k, 0] * red + sh[i, k, 1] * green + sh[i, k, 2] * blue
    if degree == 0:
        return
    gx, gy, gz = _basis_gradient(x, y, z, degree, basis)
    along = gx * x + gy * y + gz * z
    gx, gy, gz = (gx - along * x) * inverse, (gy - along * y) * inverse, (gz - along * z) * inverse
    to_mean[0] += gx
    to_mean[1] += gy
    to_mean[2] += gz
    camera[12] -= gx
    camera[13] -= gy
    camera[14] -= gz


@kernel(fastmath=CAREFUL)
def _fill_basis(x, y, z, degree, basis):
    """The real spherical harmonics of a unit vector, in the order and with the signs of 3D Gaussian Splatting."""
    basis[0] = SH0
    if degree > 0:
        basis[1], basis[2], basis[3] = -SH1 * y, SH1 * z, -SH1 * x
    if degree > 1:
        xx, yy, zz = x * x, y * y, z * z
        basis[4], basis[5], basis[7] = SH2_XY * x * y, -SH2_XY * y * z, -SH2_XY * x * z
        basis[6], basis[8] = SH2_ZZ * (F(2) * zz - xx - yy), SH2_XX * (xx - yy)
        if degree > 2:
            basis[9], basis[15] = -SH3_A * y * (F(3) * xx - yy), -SH3_A * x * (xx - F(3) * yy)
            basis[10], basis[14] = SH3_B * x * y * z, SH3_E * z * (xx - yy)
            basis[11], basis[13] = -SH3_C * y * (F(4) * zz - xx - yy), -SH3_C * x * (F(4) * zz - xx - yy)
            basis[12] = SH3_D * z * (F(2) * zz - F(3) * xx - F(3) * yy)


@kernel(fastmath=CAREFUL)
def _basis_gradient(x, y, z, degree, g):
    """The gradient to (x, y, z) of sum_k g_k basis_k(x, y, z)."""
    gx, gy, gz = -SH1 * g[3], -SH1 * g[1], SH1 * g[2]
    if degree > 1:
        gx += SH2_XY * (y * g[4] - z * g[7]) - F(2) * x * (SH2_ZZ * g[6] - SH2_XX * g[8])
        gy += SH2_XY * (x * g[4] - z * g[5]) - F(2) * y * (SH2_ZZ * g[6] + SH2_XX * g[8])
        gz += -SH2_XY * (y * g[5] + x * g[7]) + F(4) * SH2_ZZ * z * g[6]
    if degree > 2:
        xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
        gx += (
            -F(6) * SH3_A * xy * g[9] + SH3_B * yz * g[10] + F(2) * SH3_C * xy * g[11] - F(6) * SH3_D * xz * g[12]
            - SH3_C * (F(4) * zz - F(3) * xx - yy) * g[13] + F(2) * SH3_E * xz * g[14] - F(3) * SH3_A * (xx - yy) * g[15]
        )  # fmt: skip
        gy += (
            -F(3) * SH3_A * (xx - yy) * g[9] + SH3_B * xz * g[10] - SH3_C * (F(4) * zz - xx - F(3) * yy) * g[11]
            - F(6) * SH3_D * yz * g[12] + F(2) * SH3_C * xy * g[13] - F(2) * SH3_E * yz * g[14] + F(6) * SH3_A * xy * g[15]
        )  # fmt: skip
        gz += (
            SH3_B * xy * g[10] - F(8) * SH3_C * yz * g[11] + SH3_D * (F(6) * zz - F(3) * xx - F(3) * yy) * g[12]
            - F(8) * SH3_C * xz * g[13] + SH3_E * (xx - yy) * g[14]
        )  # fmt: skip
    return gx, gy, gz
