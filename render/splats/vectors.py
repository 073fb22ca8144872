"""Vectors of three float32 as tuples, which stay in registers."""

from __future__ import annotations

from render.splats.compilation import CAREFUL, kernel


@kernel(fastmath=CAREFUL)
def row(array, i):
    """The first three entries of row i."""
    return array[i, 0], array[i, 1], array[i, 2]


@kernel(fastmath=CAREFUL)
def dot(a, b):
    """a . b"""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel(fastmath=CAREFUL)
def cross(a, b):
    """a x b"""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@kernel(fastmath=CAREFUL)
def scaled(s, a):
    """s a"""
    return s * a[0], s * a[1], s * a[2]


@kernel(fastmath=CAREFUL)
def plus(a, b):
    """a + b"""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@kernel(fastmath=CAREFUL)
def minus(a, b):
    """a - b"""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@kernel(fastmath=CAREFUL)
def times(a, b):
    """Entry by entry."""
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]
