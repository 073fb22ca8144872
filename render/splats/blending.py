"""Tiles of pixels: blending front to back, and its gradient in the same order.

A pixel starts with transmittance T = 1 and meets the Gaussians of its tile nearest first. Gaussian i counts with

    alpha_i = min(0.99, opacity e^-q),   q = (A dx^2 + C dy^2) / 2 + B dx dy,

where that is at least 1/255 and as long as T > 1e-4; with the weight w_i = T alpha_i it adds w_i v_i to each channel
(v: colour, depth, ...), and T becomes T (1 - alpha_i). The background is seen through what T is left.

Backward, let g be the gradient of a pixel's channels and S_i = g . v_i. The pixel's channels are linear in what lies
behind Gaussian i, so that with R_i = the sum of w_j S_j over all j behind i, the background included,

    d / d alpha_i = T_i S_i - R_i / (1 - alpha_i).

R starts as g . (the pixel itself) and loses w_i S_i at each step: the lists are walked in the order of the forward
pass, T is the same to the bit, and nothing need be kept for each pixel. The gradient of the centre and the conic follow
from the sums over pixels of d alpha_i times 1, dx, dy, dx^2, dx dy, dy^2.

A tile's planes (T, channels, ...) lie in one array of float32, and the loops over pixels are small functions of their
own with unsigned indices: so LLVM knows that nothing overlaps and vectorises them (8 times faster; a test guards it).
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from render.splats.compilation import kernel
from render.splats.projection import (
    CENTER_X,
    CENTER_Y,
    COLOR,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    COVARIANCE_XX,
    COVARIANCE_YY,
    LOG_255,
    LOG_OPACITY,
    MOMENTS,
    TILE,
)

F, U = np.float32, np.uint64
PIXELS = TILE * TILE
MAX_ALPHA = F(0.99)
MIN_TRANSMITTANCE = F(1e-4)
CHANNELS_AT_MOST = 8
BATCH = 16  # Gaussians between two looks at whether the tile is finished

# A hit as the loops over pixels read it: the centre within the tile, the conic's coefficients, -log(opacity), the rows
# that the ellipse alpha = 1/255 reaches, and the values of its channels.
LEFT, TOP, HALF_XX, XY, HALF_YY, FADE, FIRST_ROW, END_ROW, VALUE = range(9)
STAGED = VALUE + CHANNELS_AT_MOST
SLACK = F(0.01)  # rows are bounded with rounding on the safe side; alpha itself decides


@kernel()
def _stage(records, values, first_value, channels, pairs, k, tile_x, tile_y, hit):
    """Fills `hit` (STAGED,) for the k-th pair.

    The rows are those of the part of the ellipse A dx^2 + 2 B dx dy + C dy^2 <= 2 reach within the tile's columns: dy is
    between -B/C dx +- sqrt((2 reach - dx^2 / cov_xx) / C), and its largest value, sqrt(2 reach cov_yy), is at
    dx = -B/A dy; the nearest column to there decides, and likewise for the least.
    """
    i = pairs[k, 0]
    left, top = records[i, CENTER_X] - tile_x, records[i, CENTER_Y] - tile_y
    a, b, c = records[i, CONIC_XX], records[i, CONIC_XY], records[i, CONIC_YY]
    twice_reach = F(2) * (records[i, LOG_OPACITY] + LOG_255)
    nearest, farthest = left - F(TILE) + F(0.5), left - F(0.5)
    apex = -b / a * math.sqrt(twice_reach * records[i, COVARIANCE_YY])
    high, low = min(max(apex, nearest), farthest), min(max(-apex, nearest), farthest)
    per_c, per_xx = F(1) / c, F(1) / records[i, COVARIANCE_XX]
    up = math.sqrt(max(F(0), (twice_reach - high * high * per_xx) * per_c)) - b * per_c * high
    down = -math.sqrt(max(F(0), (twice_reach - low * low * per_xx) * per_c)) - b * per_c * low
    hit[LEFT], hit[TOP], hit[HALF_XX], hit[XY], hit[HALF_YY] = left, top, F(0.5) * a, b, F(0.5) * c
    hit[FADE] = -records[i, LOG_OPACITY]
    hit[FIRST_ROW] = max(F(0), math.ceil(top - up - F(0.5) - SLACK))
    hit[END_ROW] = min(F(TILE), math.floor(top - down + F(0.5) + SLACK))
    for channel in range(channels):
        hit[VALUE + channel] = values[i, first_value + channel]


@kernel()
def _exp_minus(q):
    """e^-q for q in [0, 6.4] to 1.6e-6: the eighth power of a polynomial for e^-(q/8)."""
    u = q * F(0.125)
    p = F(1) + u * (
        F(-0.99998993) + u * (F(0.4998328) + u * (F(-0.1657389) + u * (F(0.03935547) + u * F(-0.005596456))))
    )
    p = p * p
    p = p * p
    return p * p


@kernel()
def _brightest(buffer):
    """The largest transmittance of a tile."""
    most = F(0)
    for p in range(U(0), U(PIXELS)):
        most = max(most, buffer[p])
    return most


def make_forward(channels: int, first_value: int, median: bool):
    """The forward pass for `channels` values that stand in each row of `values` from column `first_value` on.

    With `median` it also finds where T crosses one half.
    """
    P1, P2, P3, P4, P5, P6, P7, P8 = (U(PIXELS * k) for k in range(1, 9))
    CROSSING = U(PIXELS * (channels + 1))
    planes = channels + 2 if median else channels + 1

    @kernel()
    def blend(buffer, hit, place):
        left, top, half_xx, xy, half_yy, fade = hit[LEFT], hit[TOP], hit[HALF_XX], hit[XY], hit[HALF_YY], hit[FADE]
        v0, v1, v2, v3 = hit[VALUE], hit[VALUE + 1], hit[VALUE + 2], hit[VALUE + 3]
        v4, v5, v6, v7 = hit[VALUE + 4], hit[VALUE + 5], hit[VALUE + 6], hit[VALUE + 7]
        for y in range(int(hit[FIRST_ROW]), int(hit[END_ROW])):
            dy = top - F(y) - F(0.5)
            across, down = xy * dy, half_yy * dy * dy + fade
            base = y * TILE
            for x in range(TILE):
                p = U(base + x)
                dx = left - F(x) - F(0.5)
                q = dx * (half_xx * dx + across) + down
                T = buffer[p]
                alpha = min(MAX_ALPHA, _exp_minus(min(q, F(8))))
                alpha = alpha if (q <= LOG_255) & (T > MIN_TRANSMITTANCE) else F(0)
                w = alpha * T
                buffer[p] = T - w
                buffer[P1 + p] += w * v0
                buffer[P2 + p] += w * v1
                buffer[P3 + p] += w * v2
                if channels > 3:
                    buffer[P4 + p] += w * v3
                    buffer[P5 + p] += w * v4
                    buffer[P6 + p] += w * v5
                    buffer[P7 + p] += w * v6
                if channels > 7:
                    buffer[P8 + p] += w * v7
                if median:
                    crosses = (T > F(0.5)) & (T - w <= F(0.5))
                    buffer[CROSSING + p] = place if crosses else buffer[CROSSING + p]

    @kernel(parallel=True)
    def forward(records, values, starts, pairs, dealt, bounds, columns, background, image, alpha, ids, done):
        height, width = alpha.shape
        for hand in prange(bounds.shape[0] - 1):
            buffer, hit = np.empty(planes * PIXELS, F), np.empty(STAGED, F)
            for turn in range(bounds[hand], bounds[hand + 1]):
                t = dealt[turn]
                tile_x, tile_y = t % columns * TILE, t // columns * TILE
                buffer[:] = F(0)
                buffer[:PIXELS] = F(1)
                if median:
                    buffer[(channels + 1) * PIXELS :] = F(-1)
                count = 0
                for k in range(starts[t], starts[t + 1]):
                    _stage(records, values, first_value, channels, pairs, k, F(tile_x), F(tile_y), hit)
                    blend(buffer, hit, F(k - starts[t]))
                    count += 1
                    if count % BATCH == 0 and _brightest(buffer) <= MIN_TRANSMITTANCE:
                        break
                done[t] = count
                for y in range(tile_y, min(height, tile_y + TILE)):
                    for x in range(tile_x, min(width, tile_x + TILE)):
                        p = (y - tile_y) * TILE + x - tile_x
                        T = buffer[p]
                        alpha[y, x] = F(1) - T
                        for c in range(channels):
                            image[y, x, c] = buffer[(c + 1) * PIXELS + p] + T * background[c]
                        if median:
                            place = int(buffer[(channels + 1) * PIXELS + p])
                            ids[y, x] = pairs[starts[t] + place, 0] if place >= 0 else -1

    return forward


def make_backward(channels: int, first_value: int):
    """The backward pass for the same channels: gradients of each hit, (hits, MOMENTS + channels)."""
    G0 = 4 * PIXELS  # planes: T, R, x, y, then the gradient of each channel
    O1, O2, O3 = U(PIXELS), U(2 * PIXELS), U(3 * PIXELS)
    P0, P1, P2, P3, P4, P5, P6, P7 = (U(G0 + PIXELS * k) for k in range(8))

    @kernel()
    def blend(buffer, hit, sums, slot):
        left, top, half_xx, xy, half_yy, fade = hit[LEFT], hit[TOP], hit[HALF_XX], hit[XY], hit[HALF_YY], hit[FADE]
        v0, v1, v2, v3 = hit[VALUE], hit[VALUE + 1], hit[VALUE + 2], hit[VALUE + 3]
        v4, v5, v6, v7 = hit[VALUE + 4], hit[VALUE + 5], hit[VALUE + 6], hit[VALUE + 7]
        first, end = int(hit[FIRST_ROW]), int(hit[END_ROW])
        m, mx, my, mxx, mxy, myy = F(0), F(0), F(0), F(0), F(0), F(0)
        c0, c1, c2, c3, c4, c5, c6, c7 = F(0), F(0), F(0), F(0), F(0), F(0), F(0), F(0)
        for p in range(U(first * TILE), U(end * TILE)):
            dx, dy = left - buffer[O2 + p], top - buffer[O3 + p]
            q = dx * (half_xx * dx + xy * dy) + half_yy * dy * dy + fade
            T = buffer[p]
            free = _exp_minus(min(q, F(8)))
            alpha = min(MAX_ALPHA, free)
            alpha = alpha if (q <= LOG_255) & (T > MIN_TRANSMITTANCE) else F(0)
            w = alpha * T
            buffer[p] = T - w
            g0, g1, g2 = buffer[P0 + p], buffer[P1 + p], buffer[P2 + p]
            S = g0 * v0 + g1 * v1 + g2 * v2
            c0 += w * g0
            c1 += w * g1
            c2 += w * g2
            if channels > 3:
                g3, g4, g5, g6 = buffer[P3 + p], buffer[P4 + p], buffer[P5 + p], buffer[P6 + p]
                S += g3 * v3 + g4 * v4 + g5 * v5 + g6 * v6
                c3 += w * g3
                c4 += w * g4
                c5 += w * g5
                c6 += w * g6
            if channels > 7:
                g7 = buffer[P7 + p]
                S += g7 * v7
                c7 += w * g7
            R = buffer[O1 + p] - w * S
            buffer[O1 + p] = R
            # alpha d / d alpha = d / d log(alpha); nothing passes the clamp at 0.99
            d = (alpha if free < MAX_ALPHA else F(0)) * (T * S - R / (F(1) - alpha))
            ddx, ddy = d * dx, d * dy
            m += d
            mx += ddx
            my += ddy
            mxx += ddx * dx
            mxy += ddx * dy
            myy += ddy * dy
        sums[slot, CENTER_X], sums[slot, CENTER_Y] = -F(2) * half_xx * mx - xy * my, -xy * mx - F(2) * half_yy * my
        sums[slot, CONIC_XX], sums[slot, CONIC_XY], sums[slot, CONIC_YY] = F(-0.5) * mxx, -mxy, F(-0.5) * myy
        sums[slot, LOG_OPACITY] = m
        sums[slot, MOMENTS], sums[slot, MOMENTS + 1], sums[slot, MOMENTS + 2] = c0, c1, c2
        if channels > 3:
            sums[slot, MOMENTS + 3], sums[slot, MOMENTS + 4], sums[slot, MOMENTS + 5], sums[slot, MOMENTS + 6] = c3, c4, c5, c6
        if channels > 7:
            sums[slot, MOMENTS + 7] = c7

    @kernel(parallel=True)
    def backward(records, values, starts, pairs, dealt, bounds, columns, image, alpha, to_image, to_alpha, done, sums):
        height, width = alpha.shape
        for hand in prange(bounds.shape[0] - 1):
            buffer, hit = np.empty((4 + channels) * PIXELS, F), np.empty(STAGED, F)
            for turn in range(bounds[hand], bounds[hand + 1]):
                t = dealt[turn]
                tile_x, tile_y = t % columns * TILE, t // columns * TILE
                for p in range(PIXELS):
                    buffer[p], buffer[PIXELS + p] = F(1), F(0)
                    buffer[2 * PIXELS + p], buffer[3 * PIXELS + p] = F(p % TILE) + F(0.5), F(p // TILE) + F(0.5)
                buffer[G0:] = F(0)
                for y in range(tile_y, min(height, tile_y + TILE)):
                    for x in range(tile_x, min(width, tile_x + TILE)):
                        p = (y - tile_y) * TILE + x - tile_x
                        R = -to_alpha[y, x] * (F(1) - alpha[y, x])
                        for c in range(channels):
                            buffer[G0 + c * PIXELS + p] = to_image[y, x, c]
                            R += to_image[y, x, c] * image[y, x, c]
                        buffer[PIXELS + p] = R
                end_of_done = starts[t] + done[t]
                for k in range(starts[t], end_of_done):
                    _stage(records, values, first_value, channels, pairs, k, F(tile_x), F(tile_y), hit)
                    blend(buffer, hit, sums, pairs[k, 1])
                for k in range(end_of_done, starts[t + 1]):
                    for c in range(MOMENTS + channels):
                        sums[pairs[k, 1], c] = F(0)

    return backward


forward_color, backward_color = make_forward(3, COLOR, False), make_backward(3, COLOR)
forward_geometry, backward_geometry = make_forward(7, COLOR, True), make_backward(7, COLOR)
forward_features, backward_features = (
    make_forward(CHANNELS_AT_MOST, 0, False),
    make_backward(CHANNELS_AT_MOST, 0),
)
