"""Sweeps of a spinning laser scanner as KITTI stores them: x, y, z, intensity, four float32 numbers a point, in metres.

A. Geiger, P. Lenz, R. Urtasun: Are we ready for autonomous driving? The KITTI vision benchmark suite, CVPR 2012. x is
forward, y left, z up, the scanner in the origin. The file has no header: its size alone tells that it can be one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.errors import UserError
from recon.formats.options import PointOptions
from recon.formats.point_columns import cloud_of
from recon.formats.untrusted import failures_named
from recon.inputs import PointCloud

POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])
FARTHEST = 10_000.0  # metres; what lies beyond is no echo but the bytes of another format


def read(path: Path, options: PointOptions) -> PointCloud:
    """The points of one sweep.

    Raises:
        UserError: the file's size is no multiple of 16 bytes, or its numbers are no distances.
    """
    with failures_named(path):
        size = path.stat().st_size
        if size == 0 or size % POINT.itemsize:
            raise UserError(
                f"{path}: is no KITTI sweep: its {size} bytes are no multiple of the {POINT.itemsize} of a point"
            )
        rows = np.fromfile(path, POINT)
    near = [np.abs(rows[axis]) <= FARTHEST for axis in "xyz"]
    if np.mean(near) < 0.99:
        raise UserError(f"{path}: is no KITTI sweep: read as float32 numbers, its bytes are no distances in metres")
    return cloud_of({name: rows[name] for name in POINT.names or ()}, path, unit="m")
