"""What the kernels tell each other of a projected Gaussian: a record of 16 numbers, one cache line.

At an offset (dx, dy) from the centre, log(alpha) is log(opacity) - q with q = (A e^2 + R dy^2) / 2, e = dx + K dy. This
is the conic [[A, B], [B, C]], the inverse of the covariance in the picture, as a sum of squares: K = B / A = -cov_xy /
cov_yy, R = C - B^2 / A = 1 / cov_yy. Far along a needle, A dx^2 + 2 B dx dy + C dy^2 would lose what the squares keep.
"""

from __future__ import annotations

import math

import numpy as np

TILE = 16  # pixels along the side of a tile
LOG_255 = np.float32(math.log(255))  # a Gaussian counts where its alpha is at least 1/255

# Centre in pixels; A, K, R; logarithm of the opacity; colour; depth along the camera's forward axis; unit normal in the
# world; a one; what rounding took from the centre (1/30,000 of a pixel in a picture of 1,000).
CENTER_X, CENTER_Y, CONIC_A, CONIC_K, CONIC_R, LOG_OPACITY, COLOR = range(7)
DEPTH, NORMAL, ONE, REST_X, REST_Y, RECORD = 9, 10, 13, 14, 15, 16

# Gradients come back for the first six columns and then for each blended channel: 3, or 8 with depth, normal and the
# one, whose sum is alpha: it keeps the digits that 1 - T loses at faint pixels, where the mean depth is divided by it.
MOMENTS = COLOR
