"""The colours of points baked into a texture: finer than vertex colours where points are denser than vertices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8

from recon.errors import UserError
from recon.inputs import PointCloud
from recon.surface.colors import colors_at
from recon.surface.unwrapping import Unwrapped, covered, unwrapped

if TYPE_CHECKING:
    import trimesh

SMALLEST, LARGEST = 64, 16384
ROUGHNESS = 0.8


def textured(mesh: trimesh.Trimesh, cloud: PointCloud, size: int) -> trimesh.Trimesh:
    """The mesh with a texture of `size` by `size` texels in the points' colours, both in the same coordinates. Vertices
    at seams are doubled; the texture's coordinates count v upward, as trimesh's do.

    Raises:
        UserError: the points have no colours, the size is out of range or too small for the mesh.
    """
    import trimesh
    from PIL import Image
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    if cloud.colors is None:
        raise UserError("--texture: the points have no colours to make a texture of")
    if not SMALLEST <= size <= LARGEST:
        raise UserError(f"--texture {size}: the side of the texture is {SMALLEST} to {LARGEST} texels")
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    try:
        flat = unwrapped(vertices - vertices.mean(0), faces, size)
    except ValueError as problem:
        raise UserError(f"--texture {size}: {problem}; give a larger size") from problem
    image = baked(vertices[flat.vertex], flat, cloud, size)
    uv = flat.texels / size * (1, -1) + (0, 1)
    material = PBRMaterial(baseColorTexture=Image.fromarray(image), metallicFactor=0.0, roughnessFactor=ROUGHNESS)
    visual = TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(vertices[flat.vertex], flat.faces, visual=visual, process=False)


def baked(
    vertices: Float64[np.ndarray, "m 3"], flat: Unwrapped, cloud: PointCloud, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The texture: for each covered texel the points' colour there, for all others that of the nearest covered one, so
    that no seam shows when the texture is filtered or seen from far."""
    from scipy.ndimage import distance_transform_edt

    owner = covered(flat.texels[flat.faces], size)
    rows, columns = np.nonzero(owner >= 0)
    corners = flat.faces[owner[rows, columns]]
    places = _places(np.stack([columns, rows], axis=1) + 0.5, flat.texels[corners], vertices[corners])
    image = np.zeros((size, size, 3), np.uint8)
    image[rows, columns] = colors_at(places, cloud)
    nearest = np.asarray(distance_transform_edt(owner < 0, return_distances=False, return_indices=True))
    return image[tuple(nearest)]


def _places(
    texels: Float64[np.ndarray, "n 2"], flat: Float64[np.ndarray, "n 3 2"], corners: Float64[np.ndarray, "n 3 3"]
) -> Float64[np.ndarray, "n 3"]:
    """Where texels of triangles lie in space, by their barycentric coordinates."""
    a, ab, ac = flat[:, 0], flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = ab[:, 0] * ac[:, 1] - ac[:, 0] * ab[:, 1]
    x, y = (texels - a).T
    u, v = (x * ac[:, 1] - ac[:, 0] * y) / area, (ab[:, 0] * y - x * ab[:, 1]) / area
    return np.einsum("nk,nkc->nc", np.stack([1 - u - v, u, v], axis=1), corners)
