"""The regions that contours bound, as polygons: who owns which part of a plane, and its triangles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from recon.slices import Plane

if TYPE_CHECKING:
    from manifold3d import CrossSection


def even_odd_region(contours: Sequence[Float[np.ndarray, "_ 2"]]) -> CrossSection:
    """The points that a ray from them shows to be inside, crossing the closed contours an odd number of times."""
    from manifold3d import CrossSection, FillRule

    return CrossSection([np.asarray(contour, np.float64) for contour in contours], FillRule.EvenOdd)


def owned_regions(plane: Plane, partition: bool, unit: float = 1.0) -> dict[int, CrossSection]:
    """What each label owns of a plane, in the plane's coordinates divided by `unit`.

    Without `partition` that is the even-odd rule over its own rings. With it the innermost ring decides: each ring owns
    its inside less the insides of all smaller ones. Of two equal rings the hole counts as the larger.
    """
    from manifold3d import CrossSection, OpType

    labels = {ring.label for ring in plane.rings if not ring.hole}
    if not partition:
        own = {label: [r.vertices / unit for r in plane.rings if r.label == label] for label in labels}
        return {label: even_odd_region(rings) for label, rings in own.items()}
    nested = [(ring, even_odd_region([ring.vertices / unit])) for ring in plane.rings]
    nested.sort(key=lambda pair: (-pair[1].area(), not pair[0].hole))
    parts: dict[int, list[CrossSection]] = {label: [] for label in labels}
    for i, (ring, region) in enumerate(nested):
        if not ring.hole:
            smaller = [other for _, other in nested[i + 1 :] if _boxes_meet(region, other)]
            parts[ring.label].append(CrossSection.batch_boolean([region, *smaller], OpType.Subtract))
    return {label: CrossSection.batch_boolean(own, OpType.Add) for label, own in parts.items()}


def triangulated(region: CrossSection) -> tuple[Float[np.ndarray, "n 2"], Int[np.ndarray, "m 3"]]:
    """A region as triangles, its holes left open: vertices (n, 2), faces (m, 3) counter-clockwise."""
    from manifold3d import triangulate

    polygons = region.to_polygons()
    if not polygons:
        return np.zeros((0, 2)), np.zeros((0, 3), np.int64)
    return np.concatenate(polygons), np.asarray(triangulate(polygons), np.int64)


def _boxes_meet(a: CrossSection, b: CrossSection) -> bool:
    a_left, a_low, a_right, a_high = a.bounds()
    b_left, b_low, b_right, b_high = b.bounds()
    return a_left < b_right and b_left < a_right and a_low < b_high and b_low < a_high
