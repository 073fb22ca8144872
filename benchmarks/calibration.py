"""A fixed amount of work, timed beside every benchmark: by its ratio, figures of two machines can be compared."""

from __future__ import annotations

import time

import numpy as np


def calibration_milliseconds() -> float:
    """CPU milliseconds of e^-x of 4 million float32, the median of seven."""
    numbers = np.random.default_rng(0).random(4_000_000, np.float32)
    np.exp(-numbers)
    took = []
    for _ in range(7):
        start = time.process_time()
        np.exp(-numbers)
        took.append(time.process_time() - start)
    return 1e3 * float(np.median(took))
