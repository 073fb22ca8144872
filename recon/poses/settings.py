"""What structure from motion tries, first and when photos are left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

ERROR = 2  # of glog, after information and warnings


class Settings(NamedTuple):
    """One attempt. Names follow COLMAP's options.

    `feature_size`: the longer side of the picture that features are sought in, before `first_octave` -1 doubles it.
    `max_features`, `peak_threshold`: how many, how weak. `max_ratio`: how much farther than its match the second best
    descriptor must be. `min_inliers`: of a pair of photos, and of a photo that is placed. `min_angle`: of the two rays
    to a point, in degrees, for the first pair of photos. `forward`: how much of the first pair's motion may be along
    the line of sight.
    """

    name: str
    feature_size: int
    max_features: int
    peak_threshold: float
    max_ratio: float
    min_inliers: int
    min_angle: float
    forward: float


ATTEMPTS = (
    Settings("usual settings", 1200, 4096, 0.0067, 0.8, 15, 16.0, 0.95),
    Settings("settings for difficult photos", 1600, 8192, 0.004, 0.85, 15, 6.0, 0.99),
)


def threads_to_use() -> int:
    """What OMP_NUM_THREADS says, else one for each core."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) > 0 else os.cpu_count() or 1


@contextmanager
def quiet() -> Iterator[None]:
    """COLMAP's log only where it is of errors."""
    import pycolmap

    level = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = ERROR
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = level
