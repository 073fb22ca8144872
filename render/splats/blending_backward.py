"""The way back of `blending.py`: from the gradients of the pixels to those of each hit.

Let g be the gradient of a pixel's channels, S_i = g . v_i, and B_i what a ray that passes Gaussian i would bring home
from behind it. The lists are walked from the last Gaussian that counted to the first, with

    d / d alpha_i = T_i (S_i - B_i),   B_(i-1) = B_i + alpha_i (S_i - B_i),   T_(i-1) = T_i / (1 - alpha_(i-1)),

from the background's B = g . background - (gradient of alpha) and the T that is left. B is a mean of the S behind: to
subtract instead, from the front, what each Gaussian adds to the pixel would leave those at the back with the rounding
of the whole pixel. The gradients of the centre and the conic follow from the sums over pixels of d / d log(alpha_i)
times 1, e, dy, e^2, e dy, dy^2. A hit's gradients are left at its slot.
"""

from __future__ import annotations

import numpy as np

from render.splats.blending import (
    BATCH,
    CHANNELS_AT_MOST,
    EIGHTH,
    END_ROW,
    FIRST_ROW,
    MAX_ALPHA,
    PIXELS,
    STAGED,
    empty_planes,
    exp_minus_8,
    rows_above,
    shape_of,
    stage,
    values_of,
)
from render.splats.compilation import kernel
from render.splats.records import (
    CENTER_X,
    CENTER_Y,
    COLOR,
    CONIC_A,
    CONIC_K,
    CONIC_R,
    LOG_255,
    LOG_OPACITY,
    MOMENTS,
    TILE,
)

F, U = np.float32, np.uint64
GRADIENT = 5 * PIXELS  # planes of the buffer: T, B, x, y, place of the last, then the gradient of each channel


def make_backward(channels: int, first_value: int):
    """The backward pass of `make_forward(channels, first_value, ...)`; fills `sums` (hits, MOMENTS + channels)."""
    blend = _make_blend_backward(channels)

    @kernel()
    def backward(
        first, end, records, values, starts, pairs, columns, background, through, last, to_image, to_alpha, done, sums
    ):
        buffer, staged = empty_planes(5 + channels), np.empty((BATCH, STAGED), F)
        for t in range(first, end):
            column, row = t % columns, t // columns
            _fill_planes(background, through, last, to_image, to_alpha, column, row, buffer)
            for behind in range(done[t], 0, -BATCH):
                front = max(0, behind - BATCH)
                rows = rows_above(buffer[4 * PIXELS : 5 * PIXELS], F(front) - F(0.5))
                for place in range(front, behind):
                    i = pairs[starts[t] + place, 0]
                    stage(records, values, first_value, channels, i, column, row, rows, staged, place - front)
                for place in range(behind - 1, front - 1, -1):
                    blend(buffer, staged, place - front, F(place), sums, pairs[starts[t] + place, 1])
            for k in range(starts[t] + done[t], starts[t + 1]):
                for c in range(MOMENTS + channels):
                    sums[pairs[k, 1], c] = F(0)

    return backward


@kernel()
def _fill_planes(background, through, last, to_image, to_alpha, column, row, buffer):
    """The planes of a tile behind its last hit; beyond the picture's border nothing counted."""
    height, width, channels = to_image.shape
    for p in range(PIXELS):
        x, y = p % TILE, p // TILE
        buffer[2 * PIXELS + p], buffer[3 * PIXELS + p] = F(x) + F(0.5), F(y) + F(0.5)
        x, y = column * TILE + x, row * TILE + y
        inside = x < width and y < height
        buffer[p], buffer[4 * PIXELS + p] = (through[y, x], last[y, x]) if inside else (F(1), F(-1))
        B = -to_alpha[y, x] if inside else F(0)
        for c in range(channels):
            g = to_image[y, x, c] if inside else F(0)
            buffer[GRADIENT + c * PIXELS + p] = g
            B += g * background[c]
        buffer[PIXELS + p] = B


def _make_blend_backward(channels: int):
    BEHIND, X, Y, LAST = (U(PIXELS * k) for k in range(1, 5))
    G0, G1, G2, G3, G4, G5, G6, G7 = (U(GRADIENT + PIXELS * k) for k in range(8))

    @kernel()
    def blend(buffer, staged, h, place, sums, slot):
        left, top, a_16, k, r_16, fade_8 = shape_of(staged, h)
        v0, v1, v2, v3, v4, v5, v6, v7 = values_of(staged, h)
        first, end = int(staged[h, FIRST_ROW]), int(staged[h, END_ROW])
        m, me, my, mee, mey, myy = F(0), F(0), F(0), F(0), F(0), F(0)
        c0, c1, c2, c3, c4, c5, c6, c7 = F(0), F(0), F(0), F(0), F(0), F(0), F(0), F(0)
        for p in range(U(first * TILE), U(end * TILE)):
            dy = top - buffer[Y + p]
            e = (left + k * dy) - buffer[X + p]
            u = a_16 * e * e + (r_16 * dy * dy + fade_8)
            free = exp_minus_8(min(u, F(1)))
            alpha = min(MAX_ALPHA, free) if (u <= EIGHTH * LOG_255) & (place <= buffer[LAST + p]) else F(0)
            T = buffer[p] / (F(1) - alpha)
            w = alpha * T
            buffer[p] = T
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
                g7 = buffer[G7 + p]
                S += g7 * v7
                c7 += w * g7
            more = S - buffer[BEHIND + p]
            buffer[BEHIND + p] += alpha * more
            # alpha d / d alpha = d / d log(alpha); nothing passes the clamp at 0.99
            d = w * more if free < MAX_ALPHA else F(0)
            de, dd = d * e, d * dy
            m += d
            me += de
            my += dd
            mee += de * e
            mey += de * dy
            myy += dd * dy
        a, r = F(16) * a_16, F(16) * r_16
        sums[slot, CENTER_X], sums[slot, CENTER_Y] = -a * me, -a * k * me - r * my
        sums[slot, CONIC_A], sums[slot, CONIC_K], sums[slot, CONIC_R] = F(-0.5) * mee, -a * mey, F(-0.5) * myy
        sums[slot, LOG_OPACITY] = m
        for c, to_value in enumerate((c0, c1, c2, c3, c4, c5, c6, c7)):
            if c < channels:
                sums[slot, MOMENTS + c] = to_value

    return blend


backward_color = make_backward(3, COLOR)
backward_geometry = make_backward(8, COLOR)
backward_features = make_backward(CHANNELS_AT_MOST, 0)
