"""The way back of `blending.py`: from the gradients of the pixels to those of each hit.

Let g be the gradient of a pixel's channels and S_i = g . v_i. The pixel is linear in what lies behind Gaussian i, so
that with R_i = the sum of w_j S_j over all j behind i, the background included,

    d / d alpha_i = T_i S_i - R_i / (1 - alpha_i).

R starts as g . (the pixel itself) and loses w_i S_i at each step: the lists are walked in the order of the forward
pass, T is the same to the bit, and nothing need be kept for each pixel. The gradients of the centre and the conic
follow from the sums over pixels of d / d log(alpha_i) times 1, dx, dy, dx^2, dx dy, dy^2. A hit's gradients are left at
its slot.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from render.splats.blending import (
    BATCH,
    CHANNELS_AT_MOST,
    END_ROW,
    FIRST_ROW,
    MAX_ALPHA,
    MIN_TRANSMITTANCE,
    PIXELS,
    STAGED,
    exp_minus,
    shape_of,
    stage,
    values_of,
)
from render.splats.compilation import kernel
from render.splats.records import (
    CENTER_X,
    CENTER_Y,
    COLOR,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    LOG_255,
    LOG_OPACITY,
    MOMENTS,
    TILE,
)

F, U = np.float32, np.uint64
GRADIENT = 4 * PIXELS  # planes of the buffer: T, R, x, y, then the gradient of each channel


def make_backward(channels: int, first_value: int):
    """The backward pass of `make_forward(channels, first_value, ...)`; fills `sums` (hits, MOMENTS + channels)."""
    blend = _make_blend_backward(channels)

    @kernel(parallel=True)
    def backward(records, values, starts, pairs, dealt, bounds, columns, image, alpha, to_image, to_alpha, done, sums):
        for hand in prange(bounds.shape[0] - 1):
            buffer, staged = np.empty(GRADIENT + channels * PIXELS, F), np.empty((BATCH, STAGED), F)
            for turn in range(bounds[hand], bounds[hand + 1]):
                t = dealt[turn]
                column, row = t % columns, t // columns
                _fill_planes(image, alpha, to_image, to_alpha, column, row, buffer)
                end = starts[t] + done[t]
                for k in range(starts[t], end, BATCH):
                    batch = min(BATCH, end - k)
                    for h in range(batch):
                        stage(records, values, first_value, channels, pairs[k + h, 0], column, row, staged, h)
                    for h in range(batch):
                        blend(buffer, staged, h, sums, pairs[k + h, 1])
                for k in range(end, starts[t + 1]):
                    for c in range(MOMENTS + channels):
                        sums[pairs[k, 1], c] = F(0)

    return backward


@kernel()
def _fill_planes(image, alpha, to_image, to_alpha, column, row, buffer):
    """The planes of a tile before its first hit; beyond the picture's border gradients are 0."""
    height, width, channels = image.shape
    for p in range(PIXELS):
        x, y = p % TILE, p // TILE
        buffer[p], buffer[2 * PIXELS + p], buffer[3 * PIXELS + p] = F(1), F(x) + F(0.5), F(y) + F(0.5)
        x, y = column * TILE + x, row * TILE + y
        inside = x < width and y < height
        R = -to_alpha[y, x] * (F(1) - alpha[y, x]) if inside else F(0)
        for c in range(channels):
            g = to_image[y, x, c] if inside else F(0)
            buffer[GRADIENT + c * PIXELS + p] = g
            R += g * image[y, x, c] if inside else F(0)
        buffer[PIXELS + p] = R


def _make_blend_backward(channels: int):
    R_, X, Y = U(PIXELS), U(2 * PIXELS), U(3 * PIXELS)
    G0, G1, G2, G3, G4, G5, G6, G7 = (U(GRADIENT + PIXELS * k) for k in range(8))

    @kernel()
    def blend(buffer, staged, h, sums, slot):
        left, top, half_xx, xy, half_yy, fade = shape_of(staged, h)
        v0, v1, v2, v3, v4, v5, v6, v7 = values_of(staged, h)
        first, end = int(staged[h, FIRST_ROW]), int(staged[h, END_ROW])
        m, mx, my, mxx, mxy, myy = F(0), F(0), F(0), F(0), F(0), F(0)
        c0, c1, c2, c3, c4, c5, c6, c7 = F(0), F(0), F(0), F(0), F(0), F(0), F(0), F(0)
        for p in range(U(first * TILE), U(end * TILE)):
            dx, dy = left - buffer[X + p], top - buffer[Y + p]
            q = dx * (half_xx * dx + xy * dy) + half_yy * dy * dy + fade
            T = buffer[p]
            free = exp_minus(min(q, F(8)))
            alpha = min(MAX_ALPHA, free)
            alpha = alpha if (q <= LOG_255) & (T > MIN_TRANSMITTANCE) else F(0)
            w = alpha * T
            buffer[p] = T - w
            g0, g1, g2 = buffer[G0 + p], buffer[G1 + p], buffer[G2 + p]
            S = g0 * v0 + g1 * v1 + g2 * v2
            c0 += w * g0
            c1 += w * g1
            c2 += w * g2
            if channels > 3:
                g3, g4, g5, g6 = buffer[G3 + p], buffer[G4 + p], buffer[G5 + p], buffer[G6 + p]
                S += g3 * v3 + g4 * v4 + g5 * v5 + g6 * v6
                c3 += w * g3
                c4 += w * g4
                c5 += w * g5
                c6 += w * g6
            if channels > 7:
                g7 = buffer[G7 + p]
                S += g7 * v7
                c7 += w * g7
            R = buffer[R_ + p] - w * S
            buffer[R_ + p] = R
            # alpha d / d alpha = d / d log(alpha); nothing passes the clamp at 0.99
            d = (alpha if free < MAX_ALPHA else F(0)) * (T * S - R / (F(1) - alpha))
            ddx, ddy = d * dx, d * dy
            m += d
            mx += ddx
            my += ddy
            mxx += ddx * dx
            mxy += ddx * dy
            myy += ddy * dy
        sums[slot, CENTER_X] = -F(2) * half_xx * mx - xy * my
        sums[slot, CENTER_Y] = -xy * mx - F(2) * half_yy * my
        sums[slot, CONIC_XX], sums[slot, CONIC_XY], sums[slot, CONIC_YY] = F(-0.5) * mxx, -mxy, F(-0.5) * myy
        sums[slot, LOG_OPACITY] = m
        for c, to_value in enumerate((c0, c1, c2, c3, c4, c5, c6, c7)):
            if c < channels:
                sums[slot, MOMENTS + c] = to_value

    return blend


backward_color = make_backward(3, COLOR)
backward_geometry = make_backward(7, COLOR)
backward_features = make_backward(CHANNELS_AT_MOST, 0)
