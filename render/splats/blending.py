"""Tiles of pixels, blended front to back.

A pixel starts with transmittance T = 1 and meets the Gaussians of its tile nearest first. Gaussian i counts with

    alpha_i = min(0.99, opacity e^-q),   q = (A e^2 + R dy^2) / 2,   e = dx + K dy   (`records.py`),

where that is at least 1/255 and as long as T > 1e-4; with the weight w_i = T alpha_i it adds w_i v_i to each channel
(v: colour, depth, ...), and T becomes T (1 - alpha_i). The background is seen through what T is left.

A tile's planes (T, channels, ...) lie in one array of float32, and the loops over pixels are small functions of their
own with unsigned indices: so LLVM knows that nothing overlaps and vectorises them (8 times faster; a test guards it).
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

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
    REST_X,
    REST_Y,
    TILE,
)

F, U = np.float32, np.uint64
PIXELS = TILE * TILE
MAX_ALPHA = F(0.99)
MIN_TRANSMITTANCE = F(1e-4)
CHANNELS_AT_MOST = 8
BATCH = 16  # Gaussians between two looks at whether the tile is finished

# A hit as the loops over pixels read it: the centre within the tile, the conic, -log(opacity), the rows that the
# ellipse alpha = 1/255 reaches, and the values of its channels.
LEFT, TOP, HALF_A, K_, HALF_R, FADE, FIRST_ROW, END_ROW, VALUE = range(9)
STAGED = VALUE + CHANNELS_AT_MOST
SLACK = F(0.01)  # rows are bounded with rounding on the safe side; alpha itself decides


@kernel()
def stage(records, values, first_value, channels, i, column, row, staged, h):
    """Fills row h of `staged` (BATCH, STAGED) for Gaussian i in the tile at this column and row.

    The rows are those of the part of the ellipse q <= reach within the tile's columns: with C = A K^2 + R, dy is
    between -A K / C dx +- sqrt((2 reach - A R / C dx^2) / C), and its largest value, sqrt(2 reach / R), is at
    dx = -K dy; the nearest column to there decides, and likewise for the least.
    """
    left = F(np.float64(records[i, CENTER_X]) - column * TILE + np.float64(records[i, REST_X]))
    top = F(np.float64(records[i, CENTER_Y]) - row * TILE + np.float64(records[i, REST_Y]))
    a, k, r = records[i, CONIC_A], records[i, CONIC_K], records[i, CONIC_R]
    twice_reach = F(2) * (records[i, LOG_OPACITY] + LOG_255)
    nearest, farthest = left - F(TILE) + F(0.5), left - F(0.5)
    apex = -k * math.sqrt(twice_reach / r)
    high, low = min(max(apex, nearest), farthest), min(max(-apex, nearest), farthest)
    per_c = F(1) / (a * k * k + r)
    narrows, tilt = a * r * per_c, a * k * per_c
    up = math.sqrt(max(F(0), (twice_reach - narrows * high * high) * per_c)) - tilt * high
    down = -math.sqrt(max(F(0), (twice_reach - narrows * low * low) * per_c)) - tilt * low
    staged[h, LEFT], staged[h, TOP], staged[h, FADE] = left, top, -records[i, LOG_OPACITY]
    staged[h, HALF_A], staged[h, K_], staged[h, HALF_R] = F(0.5) * a, k, F(0.5) * r
    staged[h, FIRST_ROW] = max(F(0), np.ceil(top - up - F(0.5) - SLACK))
    staged[h, END_ROW] = min(F(TILE), np.floor(top - down + F(0.5) + SLACK))
    for channel in range(channels):
        staged[h, VALUE + channel] = values[i, first_value + channel]


@kernel()
def shape_of(staged, h):
    """Left, top, A/2, K, R/2 and fade of a staged hit."""
    return staged[h, LEFT], staged[h, TOP], staged[h, HALF_A], staged[h, K_], staged[h, HALF_R], staged[h, FADE]


@kernel()
def values_of(staged, h):
    """Its eight values, of which a kernel for fewer channels uses the first."""
    low = staged[h, VALUE], staged[h, VALUE + 1], staged[h, VALUE + 2], staged[h, VALUE + 3]
    return low + (staged[h, VALUE + 4], staged[h, VALUE + 5], staged[h, VALUE + 6], staged[h, VALUE + 7])


@kernel()
def exp_minus(q):
    """e^-q for q in [0, log 255] to rounding: the eighth power of a polynomial for e^-(q/8), which is off by 2e-9."""
    u = q * F(0.125)
    p = F(-0.166626307) + u * (F(0.0414970848) + u * (F(-0.00796585603) + u * F(0.000982420095)))
    p = F(1) + u * (F(-0.999999832) + u * (F(0.499995514) + u * p))
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

    With `median` it also finds the Gaussian at which T crosses one half. `dealt` and `bounds` are as `tiles.deal` gives
    them; `done` (tiles,) becomes how many hits of each tile's list were blended before nothing was seen through it, and
    for each pixel `through` is the T that is left, `last` the place in the list of the last Gaussian that counted.
    """
    planes = channels + 3 if median else channels + 2
    last_plane, crossing = (channels + 1) * PIXELS, (channels + 2) * PIXELS
    blend = _make_blend(channels, median)

    @kernel(parallel=True)
    def forward(records, values, starts, pairs, dealt, bounds, columns, background, image, through, last, ids, done):
        height, width = through.shape
        for hand in prange(bounds.shape[0] - 1):
            buffer, staged = np.empty(planes * PIXELS, F), np.empty((BATCH, STAGED), F)
            for turn in range(bounds[hand], bounds[hand + 1]):
                t = dealt[turn]
                column, row = t % columns, t // columns
                for p in range(planes * PIXELS):
                    buffer[p] = F(1) if p < PIXELS else (F(-1) if p >= last_plane else F(0))
                count, length = 0, starts[t + 1] - starts[t]
                while count < length and _brightest(buffer) > MIN_TRANSMITTANCE:
                    batch = min(BATCH, length - count)
                    for h in range(batch):
                        i = pairs[starts[t] + count + h, 0]
                        stage(records, values, first_value, channels, i, column, row, staged, h)
                    for h in range(batch):
                        blend(buffer, staged, h, F(count + h))
                    count += batch
                done[t] = count
                for y in range(row * TILE, min(height, (row + 1) * TILE)):
                    for x in range(column * TILE, min(width, (column + 1) * TILE)):
                        p = (y - row * TILE) * TILE + x - column * TILE
                        through[y, x], last[y, x] = buffer[p], buffer[last_plane + p]
                        for c in range(channels):
                            image[y, x, c] = buffer[(c + 1) * PIXELS + p] + buffer[p] * background[c]
                        if median:
                            place = int(buffer[crossing + p])
                            ids[y, x] = pairs[starts[t] + place, 0] if place >= 0 else -1

    return forward


def _make_blend(channels: int, median: bool):
    P1, P2, P3, P4, P5, P6, P7, P8 = (U(PIXELS * k) for k in range(1, 9))
    LAST, CROSSING = U(PIXELS * (channels + 1)), U(PIXELS * (channels + 2))

    @kernel()
    def blend(buffer, staged, h, place):
        left, top, half_a, k, half_r, fade = shape_of(staged, h)
        v0, v1, v2, v3, v4, v5, v6, v7 = values_of(staged, h)
        for y in range(int(staged[h, FIRST_ROW]), int(staged[h, END_ROW])):
            dy = top - F(y) - F(0.5)
            across, down = left + k * dy, half_r * dy * dy + fade
            base = y * TILE
            for x in range(TILE):
                p = U(base + x)
                e = across - (F(x) + F(0.5))
                q = half_a * e * e + down  # - log(opacity e^-q)
                T = buffer[p]
                counts = (q <= LOG_255) & (T > MIN_TRANSMITTANCE)
                alpha = min(MAX_ALPHA, exp_minus(min(q, F(8)))) if counts else F(0)
                w, behind = alpha * T, (F(1) - alpha) * T
                buffer[p] = behind
                buffer[LAST + p] = place if counts else buffer[LAST + p]
                buffer[P1 + p] += w * v0
                buffer[P2 + p] += w * v1
                buffer[P3 + p] += w * v2
                if channels > 3:
                    buffer[P4 + p] += w * v3
                    buffer[P5 + p] += w * v4
                    buffer[P6 + p] += w * v5
                    buffer[P7 + p] += w * v6
                    buffer[P8 + p] += w * v7
                if median:
                    crosses = (T > F(0.5)) & (behind <= F(0.5))
                    buffer[CROSSING + p] = place if crosses else buffer[CROSSING + p]

    return blend


forward_color = make_forward(3, COLOR, median=False)
forward_geometry = make_forward(8, COLOR, median=True)
forward_features = make_forward(CHANNELS_AT_MOST, 0, median=False)
