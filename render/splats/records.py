"""What the kernels tell each other of a projected Gaussian: a record of 16 numbers, one cache line.

numba keeps a compiled kernel by the date of its own file: who changes these columns touches the files that use them.
"""

from __future__ import annotations

import math

import numpy as np

TILE = 16  # pixels along the side of a tile
LOG_255 = np.float32(math.log(255))  # a Gaussian counts where its alpha is at least 1/255

# Centre in pixels; conic, the inverse of the covariance in the picture; logarithm of the opacity; colour; depth along
# the camera's forward axis; unit normal in the world; the covariance's diagonal. Column 6 is free.
CENTER_X, CENTER_Y, CONIC_XX, CONIC_XY, CONIC_YY, LOG_OPACITY = range(6)
COLOR, DEPTH, NORMAL, COVARIANCE_XX, COVARIANCE_YY = 7, 10, 11, 14, 15
RECORD = 16

# Gradients come back for the first six columns and then for each blended channel: 3, or 7 with depth and normal.
MOMENTS = 6
