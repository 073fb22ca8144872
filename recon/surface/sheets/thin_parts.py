"""Parts of a thing that are thinner than the noise of its points: two sheets that came out as one.

Where noise reaches from one sheet to the next, as at the tip of a wing, their points are moved onto one sheet halfway,
and the mesh ends all around it as if the thing were open. But that one sheet has the samples of two. Let a loop be
closed by the triangles of least area between its own vertices, B that area, and A the area of the mesh near them, both
in samples. On a surface that was sampled evenly the number k of samples near them is a Poisson number, and

    k log((A + B) / A) - B

is the logarithm of how much likelier it is with the triangles than without. Across a hole and over an open sheet k is
at most A, and it is negative; where two sheets are one, A = B = k / 2, it is positive, and the loop is closed: there
the mesh is double, as the thing is. A hole that happens to lie among dense samples is empty in the middle all the same.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial import KDTree

from recon.fields.sheet_field import SheetField
from recon.surface.sheets.borders import Mesh, areas_of, compact
from recon.surface.sheets.cracks import Loops
from recon.surface.sheets.openings import are_empty
from recon.surface.sheets.tiles import Region

NEAR = 2.0  # spacings from the triangles across a loop
EVENLY = np.sqrt(2)  # between the spacings of one sheet and of two in one
SHARE_ASIDE = 0.1  # of the samples on either side may have spacings that differ by more
MOST_EMPTY = 0.1  # of the places across a loop: more is a hole


def with_thin_parts_closed(mesh: Mesh, field: SheetField, within: Region) -> Mesh:
    """The manifold mesh with its loops around parts thinner than the noise closed, but for those that are not wholly
    `within` a region. Where the samples are not noisy, or not even, it stays as it is."""
    if field.noise == 0 or not _is_even(field.spacing):
        return mesh
    loops = Loops.of(mesh)
    spacing = float(np.median(field.spacing))
    centers, areas = mesh.vertices[mesh.faces].mean(1), areas_of(mesh) / spacing**2
    closed = [mesh.faces]
    for patch in loops.patches(mesh, np.flatnonzero(loops.closable(mesh, within))):
        alone = compact(Mesh(mesh.vertices, patch))
        near = _places_on(alone, spacing)
        samples = len(_within_reach(field.points, near, NEAR * spacing))
        area = max(areas[_within_reach(centers, near, NEAR * spacing)].sum(), 1.0)
        likelier = _gain(samples, area, areas_of(alone).sum() / spacing**2) > 0
        if likelier and are_empty(near.data, field).mean() < MOST_EMPTY:
            closed.append(patch)
    return Mesh(mesh.vertices, np.concatenate(closed))


def _is_even(spacing: Float64[np.ndarray, "n"]) -> bool:
    """Whether twice as many samples on an area tell that there are two sheets."""
    low, middle, high = np.quantile(spacing, [SHARE_ASIDE, 0.5, 1 - SHARE_ASIDE])
    return bool(low * EVENLY > middle and high < middle * EVENLY)


def _gain(samples: int, area: float, added: float) -> float:
    """How much likelier so many samples are with an area added than without it, as a logarithm."""
    return samples * np.log1p(added / area) - added


def _places_on(mesh: Mesh, apart: float) -> KDTree:
    """Places all over a mesh, at most so far apart."""
    from trimesh.remesh import subdivide_to_size

    return KDTree(subdivide_to_size(*mesh, apart)[0])


def _within_reach(points: Float64[np.ndarray, "n 3"], places: KDTree, reach: float) -> Int64[np.ndarray, " m"]:
    """Which points are within reach of a place."""
    asked = np.flatnonzero(((points > places.mins - reach) & (points < places.maxes + reach)).all(1))
    return asked[np.isfinite(places.query(points[asked], distance_upper_bound=reach)[0])]
