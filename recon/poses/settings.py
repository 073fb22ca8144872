"""What structure from motion tries, first and when photos are left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

ERROR = 2  # of glog, after information and warnings


class Search(NamedTuple):
    """How features are sought and matched; names follow COLMAP's options.

    `feature_size` is the longer side of the picture that they are sought in, which SIFT doubles first; `max_features`
    and `peak_threshold` say how many and how weak they may be; `max_ratio` how near the second best match may come to
    the best. `name` is that of the database that keeps them.
    """

    name: str
    feature_size: int
    max_features: int
    peak_threshold: float
    max_ratio: float


class Leniency(NamedTuple):
    """What is believed of matches: the points that a photo must share with those that are placed to be placed itself,
    the angle in degrees between two rays to a point for the first pair of photos, and how much of that pair's motion
    may be along the line of sight (the cosine of the angle between them)."""

    shared_points: int
    min_angle: float
    forward: float


class Attempt(NamedTuple):
    """One way to find cameras. It is made where the ones before it gave fewer than this part of the photos a camera."""

    name: str
    search: Search
    leniency: Leniency
    below: float


USUAL = Search("features", 1200, 4096, 0.0067, 0.8)
THOROUGH = Search("more-features", 1600, 8192, 0.004, 0.85)
STRICT = Leniency(30, 16.0, 0.95)  # COLMAP's own
LENIENT = Leniency(20, 4.0, 1.0)  # streets, narrow baselines, little texture

ATTEMPTS = (
    Attempt("the usual settings", USUAL, STRICT, 1.0),
    Attempt("less asked of each photo", USUAL, LENIENT, 1.0),
    Attempt("more features, and less asked of each photo", THOROUGH, LENIENT, 0.9),
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
