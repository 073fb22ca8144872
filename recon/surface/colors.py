"""Colours carried from a cloud's points to a surface that was made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8

from recon.inputs import PointCloud
from render.meshes import to_bytes, to_linear, to_srgb

if TYPE_CHECKING:
    import trimesh

NEAREST = 4
PLACES_A_QUERY = 500_000  # at a time: memory stays small, however many there are


def carried(mesh: trimesh.Trimesh, cloud: PointCloud) -> trimesh.Trimesh:
    """The mesh with the points' colours on its vertices, both in the same coordinates; the mesh itself where the points
    have none."""
    if cloud.colors is None:
        return mesh
    import trimesh

    colors = colors_at(np.asarray(mesh.vertices, np.float64), cloud)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False)


def colors_at(places: Float64[np.ndarray, "m 3"], cloud: PointCloud) -> UInt8[np.ndarray, "m 3"]:
    """sRGB colours at places of space: means over the nearest points, weighted by 1 / distance^2, in linear light.

    Raises:
        ValueError: the points have no colours.
    """
    from scipy.spatial import KDTree

    if cloud.colors is None:
        raise ValueError("the points have no colours")
    middle = cloud.points.mean(0)
    tree, light = KDTree(cloud.points - middle), to_linear(np.linspace(0, 1, 256))[cloud.colors]
    nearest = min(NEAREST, len(cloud.points))
    found = np.empty((len(places), 3), np.uint8)
    for start in range(0, len(places), PLACES_A_QUERY):
        piece = slice(start, start + PLACES_A_QUERY)
        distance, which = (np.reshape(x, (-1, nearest)) for x in tree.query(places[piece] - middle, nearest))
        weight = 1 / np.square(np.maximum(distance, 1e-100))  # a point at the place itself outweighs all others
        weight = weight / weight.sum(1, keepdims=True)
        found[piece] = to_bytes(to_srgb(np.einsum("mk,mkc->mc", weight, light[which])))
    return found
