"""Lines over pictures, with depth: what a surface hides is drawn fainter.

A segment is cut into samples half a pixel apart; each sample covers the pixels around it by
clip(width / 2 + 1/2 - distance, 0, 1), a pixel's coverage is its samples' greatest, its colour the nearest sample's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from render.cameras import Camera

STEP = 0.5
LIFT = 2.5


def draw_segments(
    image: Float32[np.ndarray, "h w 3"],
    camera: Camera,
    segments: Float[np.ndarray, "n 2 3"],
    colors: Sequence[float] | Float[np.ndarray, "n 3"],
    width: float = 1.4,
    depth: Float32[np.ndarray, "h w"] | None = None,
    hidden: float = 0.25,
) -> Float32[np.ndarray, "h w 3"]:
    """A copy of the image with world segments drawn over it, `width` pixels thick, as the camera sees them.

    `colors` are sRGB in [0, 1], one for all or one a segment. With the `depth` of a surface (as in
    `render.meshes.Picture`), samples that lie behind it are drawn with the opacity `hidden` and before the others.
    """
    position, distance, owner = _samples(camera, np.asarray(segments, np.float64))
    color = np.broadcast_to(np.asarray(colors, np.float32), (len(segments), 3))[owner]
    order = np.argsort(-distance)
    position, distance, color = position[order], distance[order], color[order]
    behind = np.zeros(len(position), bool) if depth is None else _behind(camera, position, distance, depth)
    if hidden > 0:
        image = _splat(image, position[behind], color[behind], width, hidden)
    return _splat(image, position[~behind], color[~behind], width, 1.0)


def polyline_segments(points: Float[np.ndarray, "n 3"], closed: bool) -> Float[np.ndarray, "m 2 3"]:
    """The segments of one polyline."""
    ends = np.roll(points, -1, axis=0)
    segments = np.stack([points, ends], axis=1)
    return segments if closed else segments[:-1]


def _samples(
    camera: Camera, segments: Float64[np.ndarray, "n 2 3"]
) -> tuple[Float64[np.ndarray, "m 2"], Float64[np.ndarray, "m"], Int[np.ndarray, "m"]]:
    """Pixel positions along the segments, their depths, and the segments they belong to; none outside the image."""
    pixels, depth = camera.project(segments.reshape(-1, 3))
    pixels, depth = pixels.reshape(-1, 2, 2), depth.reshape(-1, 2)
    size = np.array([camera.width, camera.height])
    # a segment with an end behind the camera has positions that are not numbers: it fails every comparison
    near = (pixels.max(1) > -2).all(1) & (pixels.min(1) < size + 2).all(1)
    index = np.flatnonzero(near)
    length = np.linalg.norm(pixels[index, 1] - pixels[index, 0], axis=1)
    count = np.ceil(np.minimum(length, 4 * size.sum()) / STEP).astype(np.int64) + 1
    row = np.repeat(np.arange(len(index)), count)
    along = (np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)) / np.maximum(count - 1, 1)[row]
    owner = index[row]
    position = pixels[owner, 0] + along[:, None] * (pixels[owner, 1] - pixels[owner, 0])
    # a perspective picture is straight in the reciprocal of depth, an orthographic one in depth itself
    power = 1.0 if camera.orthographic else -1.0
    first, last = depth[owner, 0] ** power, depth[owner, 1] ** power
    distance = (first + along * (last - first)) ** power
    inside = ((position >= 0) & (position < size)).all(1)
    return position[inside], distance[inside], owner[inside]


def _behind(
    camera: Camera,
    position: Float64[np.ndarray, "m 2"],
    distance: Float64[np.ndarray, "m"],
    depth: Float32[np.ndarray, "h w"],
) -> Bool[np.ndarray, "m"]:
    """Whether samples lie behind the surface, by more than what `LIFT` pixels cover there: one on it does not."""
    from scipy.ndimage import maximum_filter

    column, row = position.astype(np.int64).T
    # the farthest of the pixel's neighbours: a surface seen at a low angle spans much depth within a pixel
    pixel = (1.0 if camera.orthographic else distance) / camera.intrinsics[0, 0]
    return distance - LIFT * pixel > maximum_filter(depth, 3)[row, column]


def _splat(
    image: Float32[np.ndarray, "h w 3"],
    position: Float64[np.ndarray, "m 2"],
    color: Float32[np.ndarray, "m 3"],
    width: float,
    opacity: float,
) -> Float32[np.ndarray, "h w 3"]:
    """The image with samples drawn over it, the last on top."""
    height, wide = image.shape[:2]
    reach = width / 2 + 0.5
    coverage, paint = np.zeros(height * wide, np.float32), np.zeros((height * wide, 3), np.float32)
    x, y = position.T
    column, row = (np.floor(along - reach + 0.5).astype(np.int64) for along in (x, y))
    for down in range(int(np.ceil(2 * reach))):
        for right in range(int(np.ceil(2 * reach))):
            u, v = column + right, row + down
            share = reach - np.hypot(u + 0.5 - x, v + 0.5 - y)
            touched = (share > 0) & (u >= 0) & (u < wide) & (v >= 0) & (v < height)
            flat = v[touched] * wide + u[touched]
            np.maximum.at(coverage, flat, np.minimum(share[touched], 1).astype(np.float32))
            paint[flat] = color[touched]
    share = opacity * coverage.reshape(height, wide, 1)
    return image * (1 - share) + paint.reshape(height, wide, 3) * share
