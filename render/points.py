"""Pictures of point clouds: a disc for every point, the nearest in front, lit by a lamp over the viewer's shoulder.

Points have no inside: a point of unit normal n is as bright as AMBIENT + (1 - AMBIENT) |n . lamp| in linear light,
whichever way n points. Where a cloud has no normals, those of the planes through each point's neighbours do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from render.cameras import Camera
from render.meshes import Picture, to_linear, to_srgb

AMBIENT = 0.22
LAMP = (-0.45, -0.55, -1.0)  # right, down, forward: where the light comes from
NEIGHBOURS = 12


def render_points(
    points: Float[np.ndarray, "n 3"],
    camera: Camera,
    colors: Sequence[float] | Float[np.ndarray, "n 3"],
    diameter: float = 3.0,
    normals: Float[np.ndarray, "n 3"] | None = None,
    supersampling: int = 2,
) -> Picture:
    """The points as the camera sees them: discs of `diameter` pixels.

    `colors` are sRGB in [0, 1], one for all or one a point. Without `normals` (unit vectors, of either sense) each
    pixel shows the colour itself. The picture's `face` is the number of the point that is seen.
    """
    fine = camera.resized(supersampling)
    seen, depth = _nearest(fine, np.asarray(points, np.float64), diameter * supersampling / 2)
    filled = seen >= 0
    light = to_linear(np.broadcast_to(np.asarray(colors, np.float32), (len(points), 3)))
    if normals is not None:
        lamp = np.array(LAMP) / np.linalg.norm(LAMP) @ camera.world_to_camera[:3, :3]
        light = light * (AMBIENT + (1 - AMBIENT) * np.abs(normals @ lamp))[:, None]
    samples = np.where(filled[..., None], light[np.where(filled, seen, 0)], 0)
    return _averaged(samples, filled, seen, depth, supersampling)


def plane_normals(points: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """Unit normals, of either sense, of the planes of least squares through each point and its nearest neighbours."""
    from scipy.spatial import KDTree

    _, near = KDTree(points).query(points, min(NEIGHBOURS, len(points)))
    around = points[near.reshape(len(points), -1)] - points[:, None]
    around = around - around.mean(1, keepdims=True)
    return np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))[1][:, :, 0].astype(np.float32)


def covering_diameter(points: Float[np.ndarray, "n 3"], camera: Camera) -> float:
    """A diameter in pixels at which the discs about cover what the points' surface covers, between 1.2 and 9.

    The surface is taken to fill as many pixels as the points meet on a picture so coarse that it holds four a pixel.
    """
    pixels = camera.project(points)[0]
    pixels = pixels[np.isfinite(pixels).all(1)]
    coarse = np.sqrt(4 * camera.width * camera.height / max(len(pixels), 1))
    met = len(np.unique((pixels / coarse).astype(np.int64), axis=0))
    return float(np.clip(2.6 * np.sqrt(met * coarse**2 / max(len(pixels), 1)), 1.2, 9.0))


def _nearest(
    camera: Camera, points: Float64[np.ndarray, "n 3"], radius: float
) -> tuple[Int64[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """The number of the point seen at each pixel (-1 where none) and its depth (infinite where none).

    The points are drawn from the farthest to the nearest, a pixel of the disc at a time, each pixel keeping the nearest
    depth so far.
    """
    position, distance = camera.project(points)
    reach = np.ceil(radius)
    size = np.array([camera.width, camera.height])
    index = np.flatnonzero(((position > -reach) & (position < size + reach)).all(1))  # NaN, behind the camera, fails
    index = index[np.argsort(-distance[index], kind="stable")]
    position, distance = position[index], distance[index].astype(np.float32)
    depth = np.full(camera.height * camera.width, np.inf, np.float32)
    seen = np.full(camera.height * camera.width, -1)
    corner = np.floor(position).astype(np.int64)
    for down in np.arange(-reach, reach + 1, dtype=np.int64):
        for right in np.arange(-reach, reach + 1, dtype=np.int64):
            pixel = corner + (right, down)
            covered = _inside(pixel, size) & (np.hypot(*(pixel + 0.5 - position).T) <= max(radius, 0.71))
            flat = pixel[covered, 1] * camera.width + pixel[covered, 0]
            nearer = distance[covered] < depth[flat]
            flat, which = flat[nearer], np.flatnonzero(covered)[nearer]
            depth[flat], seen[flat] = distance[which], index[which]  # of several the last holds: the nearest
    shape = (camera.height, camera.width)
    return seen.reshape(shape), depth.reshape(shape)


def _inside(pixel: Int64[np.ndarray, "n 2"], size: Int64[np.ndarray, "2"]) -> Bool[np.ndarray, " n"]:
    return np.all((pixel >= 0) & (pixel < size), axis=1)


def _averaged(
    light: Float32[np.ndarray, "h w 3"],
    filled: Bool[np.ndarray, "h w"],
    seen: Int64[np.ndarray, "h w"],
    depth: Float32[np.ndarray, "h w"],
    s: int,
) -> Picture:
    """The picture whose pixels are means over s by s samples; point and depth are those of the nearest sample."""

    def blocks(values: np.ndarray) -> np.ndarray:
        height, width = values.shape[0] // s, values.shape[1] // s
        return values.reshape(height, s, width, s, -1).swapaxes(1, 2).reshape(height, width, s * s, -1)

    alpha = blocks(filled).mean(2, dtype=np.float32)
    color = to_srgb(blocks(light).mean(2) / np.maximum(alpha, 1e-6)).astype(np.float32)
    samples = blocks(depth)[..., 0]
    nearest = samples.argmin(2)[..., None]
    face = np.take_along_axis(blocks(seen)[..., 0], nearest, 2)[..., 0].astype(np.int32)
    return Picture(color, alpha[..., 0], np.take_along_axis(samples, nearest, 2)[..., 0], np.zeros_like(color), face)
