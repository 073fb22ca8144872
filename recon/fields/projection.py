"""Points near sheets, moved onto them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from recon.fields.consensus import WITNESSES, agreeing_patches
from recon.fields.local_fits import Sheets
from recon.fields.quadrics import tangents

PATCH_SIZE = 24


def project(
    sheets: Sheets, points: Float64[np.ndarray, "m 3"], axes: Float64[np.ndarray, "m 3"]
) -> tuple[Float64[np.ndarray, "m 3"], Float64[np.ndarray, "m 3"]]:
    """Points within half a spacing of a sheet that is about normal to their axes, moved along these onto it.

    The sheet is a quadric patch over the samples near each point, so that the place is exact where the curvature is
    constant. Gives the moved points, and their normals on the side of the axes. Without enough samples for patches they
    come back as they are.
    """
    size = min(PATCH_SIZE, len(sheets.points))
    if size <= WITNESSES:
        return points, axes
    neighbours = np.asarray(KDTree(sheets.points).query(points, size)[1])
    spacing = sheets.spacing[neighbours[:, 0]]
    everything = np.vstack([points, sheets.points])
    patches, _ = agreeing_patches(
        everything, np.vstack([axes, sheets.normals]), neighbours + len(points), spacing, np.arange(len(points))
    )
    along, across = tangents(axes)
    normals = axes - patches[:, 1:2] * along - patches[:, 2:] * across
    return points + patches[:, :1] * axes, normals / np.linalg.norm(normals, axis=1, keepdims=True)
