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
BATCH = 16  # Gaussians between two looks at which rows of the tile are finished
EIGHTH = F(0.125)

# A hit as the loops over pixels read it: the centre within the tile, the conic and -log(opacity), scaled for an eighth
# of q (`exp_minus_8`), the rows that the ellipse alpha = 1/255 reaches, and the values of its channels.
LEFT, TOP, A_16, K_, R_16, FADE_8, FIRST_ROW, END_ROW, VALUE = range(9)
STAGED = VALUE + CHANNELS_AT_MOST
SLACK = F(0.01)  # rows are bounded with rounding on the safe side; alpha itself decides


@kernel()
def stage(records, values, first_value, channels, i, column, row, rows, staged, h):
    """Fills row h of `staged` (BATCH, STAGED) for Gaussian i in the tile at this column and row, of which only the
    pixels of `rows`, first and end, take part.

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
    staged[h, LEFT], staged[h, TOP], staged[h, FADE_8] = left, top, -EIGHTH * records[i, LOG_OPACITY]
    staged[h, A_16], staged[h, K_], staged[h, R_16] = F(0.5) * EIGHTH * a, k, F(0.5) * EIGHTH * r
    staged[h, FIRST_ROW] = max(F(rows[0]), np.ceil(top - up - F(0.5) - SLACK))
    staged[h, END_ROW] = min(F(rows[1]), np.floor(top - down + F(0.5) + SLACK))
    for channel in range(channels):
        staged[h, VALUE + channel] = values[i, first_value + channel]


@kernel()
def shape_of(staged, h):
    """Left, top, A/16, K, R/16 and fade/8 of a staged hit."""
    return staged[h, LEFT], staged[h, TOP], staged[h, A_16], staged[h, K_], staged[h, R_16], staged[h, FADE_8]


@kernel()
def values_of(staged, h):
    """Its eight values, of which a kernel for fewer channels uses the first."""
    low = staged[h, VALUE], staged[h, VALUE + 1], staged[h, VALUE + 2], staged[h, VALUE + 3]
    return low + (staged[h, VALUE + 4], staged[h, VALUE + 5], staged[h, VALUE + 6], staged[h, VALUE + 7])


@kernel()
def exp_minus_8(u):
    """e^-8u for u in [0, log(255)/8] to rounding: the eighth power of a polynomial for e^-u, which is off by 2e-9."""
    p = F(-0.166626307) + u * (F(0.0414970848) + u * (F(-0.00796585603) + u * F(0.000982420095)))
    p = F(1) + u * (F(-0.999999832) + u * (F(0.499995514) + u * p))
    p = p * p
    p = p * p
    return p * p


@kernel()
def empty_planes(count):
    """Planes of a tile that begin at a multiple of 64 bytes: no vector of a row lies across two lines of the cache."""
    space = np.empty(count * PIXELS + 16, F)
    first = (-np.int64(space.ctypes.data) // 4) % 16
    return space[first : first + count * PIXELS]


@kernel()
def rows_above(plane, bound):
    """First and end of the rows of a plane that hold all its values above `bound`."""
    first, end = 0, TILE
    while first < end and not _any_above(plane, first, bound):
        first += 1
    while first < end and not _any_above(plane, end - 1, bound):
        end -= 1
    return first, end


@kernel()
def _any_above(plane, row, bound):
    above = 0
    for p in range(U(row * TILE), U(row * TILE + TILE)):
        above += 1 if plane[p] > bound else 0
    return above > 0


def make_forward(channels: int, first_value: int, median: bool):
    """The forward pass for `channels` values that stand in each row of `values` from column `first_value` on.

    With `median` it also finds the Gaussian at which T crosses one half. Of the tiles [first, end), `done` (tiles,)
    becomes how many hits of the list were blended before nothing was seen through it, and for each pixel `through` is
    the T that is left, `last` the place in the list of the last Gaussian that counted.
    """
    planes = channels + 3 if median else channels + 2
    last_plane = (channels + 1) * PIXELS
    blend, write = _make_blend(channels, median), _make_write(channels, median)

    @kernel()
    def forward(first, end, records, values, starts, pairs, columns, background, image, through, last, ids, done):
        buffer, staged = empty_planes(planes), np.empty((BATCH, STAGED), F)
        for t in range(first, end):
            column, row = t % columns, t // columns
            for p in range(planes * PIXELS):
                buffer[p] = F(1) if p < PIXELS else (F(-1) if p >= last_plane else F(0))
            count, length, rows = 0, starts[t + 1] - starts[t], (0, TILE)
            while count < length and rows[0] < rows[1]:
                batch = min(BATCH, length - count)
                for h in range(batch):
                    i = pairs[starts[t] + count + h, 0]
                    stage(records, values, first_value, channels, i, column, row, rows, staged, h)
                for h in range(batch):
                    blend(buffer, staged, h, F(count + h))
                count += batch
                rows = rows_above(buffer[:PIXELS], MIN_TRANSMITTANCE)
            done[t] = count
            write(buffer, column, row, background, pairs, starts[t], image, through, last, ids)

    return forward


def _make_blend(channels: int, median: bool):
    P1, P2, P3, P4, P5, P6, P7, P8 = (U(PIXELS * k) for k in range(1, 9))
    LAST, CROSSING = U(PIXELS * (channels + 1)), U(PIXELS * (channels + 2))

    @kernel()
    def blend(buffer, staged, h, place):
        left, top, a_16, k, r_16, fade_8 = shape_of(staged, h)
        v0, v1, v2, v3, v4, v5, v6, v7 = values_of(staged, h)
        for y in range(int(staged[h, FIRST_ROW]), int(staged[h, END_ROW])):
            dy = top - F(y) - F(0.5)
            across, down = left + k * dy, r_16 * dy * dy + fade_8
            base = y * TILE
            for x in range(TILE):
                p = U(base + x)
                e = across - (F(x) + F(0.5))
                u = a_16 * e * e + down  # - log(opacity e^-q) / 8
                T = buffer[p]
                counts = (u <= EIGHTH * LOG_255) & (T > MIN_TRANSMITTANCE)
                alpha = min(MAX_ALPHA, exp_minus_8(min(u, F(1)))) if counts else F(0)
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


def _make_write(channels: int, median: bool):
    LAST, CROSSING = U(PIXELS * (channels + 1)), U(PIXELS * (channels + 2))

    @kernel()
    def write(buffer, column, row, background, pairs, start, image, through, last, ids):
        """From the planes of a tile to the picture, up to whose border it goes."""
        height, width = through.shape
        x0, y0 = U(column * TILE), U(row * TILE)
        for y in range(U(0), min(U(TILE), U(height) - y0)):
            for x in range(U(0), min(U(TILE), U(width) - x0)):
                p = y * U(TILE) + x
                T = buffer[p]
                through[y0 + y, x0 + x], last[y0 + y, x0 + x] = T, buffer[LAST + p]
                for c in range(channels):
                    image[y0 + y, x0 + x, c] = buffer[U((c + 1) * PIXELS) + p] + T * background[c]
                if median:
                    place = int(buffer[CROSSING + p])
                    ids[y0 + y, x0 + x] = pairs[start + place, 0] if place >= 0 else -1

    return write


forward_color = make_forward(3, COLOR, median=False)
forward_geometry = make_forward(8, COLOR, median=True)
forward_features = make_forward(CHANNELS_AT_MOST, 0, median=False)
