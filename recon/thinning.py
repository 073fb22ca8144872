"""Which points of a cloud to take."""

from __future__ import annotations

from pathlib import Path

from recon.errors import UserError
from recon.formats.options import PointOptions
from recon.inputs import PointCloud

FEWEST = 4  # points that can span a surface with a curvature


def chosen(cloud: PointCloud, options: PointOptions, path: Path) -> PointCloud:
    """The points that the options choose."""
    if len(cloud.points) < FEWEST:
        raise UserError(f"{path}: holds {len(cloud.points)} points; a surface needs at least {FEWEST}")
    return cloud
