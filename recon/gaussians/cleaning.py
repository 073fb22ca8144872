"""Which Gaussians to keep: a box, the opaque, the small, those in large pieces. Every step is a mask, so that what was
taken away can be brought back.

Two Gaussians hang together where they visibly overlap: on the line between their centres each reaches

    r = sigma sqrt(2 ln(a / FAINT)),     sigma^2 = d^T Sigma d / d^T d     with d from centre to centre

where its opacity a has fallen to FAINT, and the distance is at most the sum of the two reaches. What is fainter than
that from the start has no reach of its own and makes no bridges. Pieces are the connected components of the graph of
the nearest neighbours that hang together; floaters are small pieces.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from recon.errors import UserError
from recon.formats.untrusted import LARGEST_COORDINATE
from recon.gaussians.model import Gaussians
from recon.rotations import rotation_matrices
from recon.scene import Frame, Scene

FAINT = 0.05
NEIGHBORS = 8


class SplatCleaning(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which Gaussians are kept; the steps follow each other in this order."""

    crop: str | None = None
    """Keep what has its centre in this box: xmin,ymin,zmin,xmax,ymax,zmax."""
    min_opacity: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Keep what is at least so opaque at its centre; 0.05 takes away haze."""
    max_size: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Keep what is at most so large: the longest standard deviation, in the file's unit."""
    drop_floaters: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Drop pieces of fewer Gaussians than this fraction of the largest piece; 0.01 is a good start."""


def cleaned(scene: Scene, cleaning: SplatCleaning) -> Scene:
    """The scene with the Gaussians that the cleaning keeps, and a note of how many it does not.

    Raises:
        UserError: the scene has none to clean, the box is malformed, or none is kept.
    """
    if cleaning == SplatCleaning():
        return scene
    if scene.gaussians is None:
        raise UserError("--crop, --min-opacity, --max-size and --drop-floaters clean splats; this scene has none")
    keep = kept(scene.gaussians, cleaning, scene.frame)
    if not keep.any():
        raise UserError(f"the cleaning leaves none of the {len(keep):,} splats; let it keep more")
    if keep.all():
        return scene
    note = f"{int((~keep).sum()):,} of {len(keep):,} splats are left out"
    return replace(scene, gaussians=scene.gaussians.subset(keep), notes=(*scene.notes, note))


def kept(gaussians: Gaussians, cleaning: SplatCleaning, frame: Frame | None = None) -> Bool[np.ndarray, "n"]:
    """Those that the cleaning keeps; box and size are the user's, to whose coordinates the frame leads.

    Raises:
        UserError: the box is malformed.
    """
    frame = frame or Frame()
    keep = np.ones(len(gaussians), bool)
    if cleaning.crop is not None:
        from recon.thinning import box_of

        keep &= in_box(frame.to_user(gaussians.means), *box_of(cleaning.crop))
    if cleaning.min_opacity:
        keep &= gaussians.opacities >= cleaning.min_opacity
    if cleaning.max_size is not None:
        keep &= frame.scale * gaussians.scales.max(axis=1) <= cleaning.max_size
    if cleaning.drop_floaters and keep.any():
        keep[keep] = in_large_pieces(gaussians.subset(keep), cleaning.drop_floaters)
    return keep


def is_finite(gaussians: Gaussians) -> Bool[np.ndarray, "n"]:
    """Those whose numbers are all finite, whose scales float32 can hold, and whose quaternion has a direction."""
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = (
            (np.abs(gaussians.means) <= LARGEST_COORDINATE).all(axis=1)
            & (np.abs(gaussians.log_scales) < np.log(np.finfo(np.float32).max)).all(axis=1)
            & np.isfinite(gaussians.opacity_logits)
            & np.isfinite(gaussians.sh).all(axis=(1, 2))
        )
        length = np.linalg.norm(gaussians.quaternions, axis=1)
        return numbers & np.isfinite(length) & (length > 1e-12)


def in_box(
    centers: Float[np.ndarray, "n 3"], low: Float64[np.ndarray, "3"], high: Float64[np.ndarray, "3"]
) -> Bool[np.ndarray, "n"]:
    """Those whose centre is in the box."""
    return np.all((centers >= low) & (centers <= high), axis=1)


def in_large_pieces(gaussians: Gaussians, share: float) -> Bool[np.ndarray, "n"]:
    """Those in pieces of at least `share` times as many Gaussians as the largest piece has."""
    piece = pieces(gaussians)
    size = np.bincount(piece)
    return (size >= share * size.max())[piece]


def pieces(gaussians: Gaussians) -> Int[np.ndarray, "n"]:
    """The number of the piece that each Gaussian is in."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from recon.thinning import nearest_neighbors

    count = len(gaussians)
    if count == 1:
        return np.zeros(1, np.int64)
    distances, neighbors = nearest_neighbors(gaussians.means.astype(np.float64), min(NEIGHBORS, count - 1))
    here = np.repeat(np.arange(count), neighbors.shape[1])
    there = neighbors.ravel()
    direction = gaussians.means[there] - gaussians.means[here]
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    together = distances.ravel() <= _reach(gaussians, here, direction) + _reach(gaussians, there, direction)
    here, there = here[together], there[together]
    graph = coo_array((np.ones(len(here), bool), (here, there)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _reach(
    gaussians: Gaussians, of: Int[np.ndarray, "m"], direction: Float32[np.ndarray, "m 3"]
) -> Float32[np.ndarray, "m"]:
    """How far these Gaussians reach along unit vectors: r of the module's formula. With q the direction in the axes of
    the Gaussian and s its scales, sigma^2 is the sum of (s q)^2."""
    turned = np.einsum("mij,mi->mj", rotation_matrices(gaussians.quaternions)[of], direction)
    sigma = np.linalg.norm(gaussians.scales[of] * turned, axis=1)
    return sigma * np.sqrt(2 * np.log(np.maximum(gaussians.opacities[of] / FAINT, 1)))
