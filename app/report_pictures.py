"""The pictures of the report that are the same for every kind of input: the result from four viewpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Float64

from recon.formats.meshes import Part, joined, parts
from recon.scene import Scene
from render.cameras import Camera, four_sides, framing
from render.meshes import Picture, render_meshes

PIXELS = 480 * 400
PALE = (0.86, 0.87, 0.88)

Image = Float32[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Viewpoint:
    """A camera, and what its pictures are called: the side that it stands on, or the photo that it took."""

    camera: Camera
    name: str


def side_viewpoints(
    points: Float[np.ndarray, "n 3"], up: tuple[float, float, float], elevation: float
) -> list[Viewpoint]:
    """Four sides, of one size, that see all the points."""
    directions = four_sides(up, elevation)
    size = _size(points, directions, up)
    cameras = [framing(points, direction, up, size, field_of_view=24) for direction in directions]
    return [Viewpoint(camera, _side(camera)) for camera in cameras]


def photo_viewpoints(scene: Scene) -> list[Viewpoint]:
    """Up to four of the scene's cameras that stand far from each other, of one shape of picture, `PIXELS` large."""
    shapes = [(one.camera.width, one.camera.height) for one in scene.cameras]
    usual = max(set(shapes), key=shapes.count)
    alike = [one for one, shape in zip(scene.cameras, shapes, strict=True) if shape == usual]
    positions = np.array([one.camera.position for one in alike])
    chosen = [0]
    while len(chosen) < min(4, len(alike)):
        away = np.linalg.norm(positions[:, None] - positions[chosen], axis=2).min(1)
        away[chosen] = -1
        chosen.append(int(away.argmax()))
    factor = min(1.0, float(np.sqrt(PIXELS / (usual[0] * usual[1]))))
    return [Viewpoint(alike[index].camera.resized(factor), alike[index].name) for index in sorted(chosen)]


def splat_pictures(scene: Scene, viewpoints: Sequence[Viewpoint], ground: tuple[float, float, float]) -> list[Image]:
    """The scene's Gaussians with that colour behind them."""
    from recon.gaussians.tensors import to_splats
    from render.splats import render_image

    assert scene.gaussians is not None
    splats, antialiased = to_splats(scene.gaussians), scene.gaussians.antialiased
    return [render_image(splats, one.camera, ground, antialiased)[..., :3] for one in viewpoints]


def result_pictures(
    scene: Scene, cameras: Sequence[Camera], color: tuple[float, float, float] | None = None
) -> list[tuple[Image, Picture]]:
    """The scene on the backdrop, its objects in their colours or all in one, and the picture of what is not glass in
    it: an object that encloses all the others is drawn as glass."""
    whole = parts(scene)
    shell = enclosing(whole)
    inner = joined([part for part in whole if part is not shell])
    pictures = render_meshes(inner, cameras, color, scene.frame.up)
    images = [picture.over(backdrop(camera)) for picture, camera in zip(pictures, cameras, strict=True)]
    if shell is not None:
        glasses = render_meshes(joined([shell]), cameras, color, scene.frame.up)
        images = [_as_glass(g, c).over(image) for g, c, image in zip(glasses, cameras, images, strict=True)]
    return list(zip(images, pictures, strict=True))


def backdrop(camera: Camera) -> Image:
    """A light grey that darkens downward."""
    rows = np.linspace(0, 1, camera.height, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(color, np.float32) for color in ((0.965, 0.970, 0.975), (0.875, 0.890, 0.905)))
    return np.broadcast_to(top + rows * (bottom - top), (camera.height, camera.width, 3))


def _side(camera: Camera) -> str:
    """The coordinate axis that the camera stands nearest to: what is in front depends on the file."""
    axis = int(np.abs(camera.forward).argmax())
    return f"from {'-+'[int(camera.forward[axis] < 0)]}{'xyz'[axis]}"


def _size(
    points: Float[np.ndarray, "n 3"], directions: Float64[np.ndarray, "4 3"], up: Sequence[float]
) -> tuple[int, int]:
    """Width and height of `PIXELS` pixels in the shape that suits the views."""
    views = [framing(points, direction, up, (100, 100), orthographic=True) for direction in directions]
    extents = np.array([np.ptp(view.project(points)[0], axis=0) / view.intrinsics[0, 0] for view in views])
    wide, high = extents.max(0)
    ratio = float(np.clip(wide / high, 0.8, 1.6))
    height = round(np.sqrt(PIXELS / ratio))
    return round(height * ratio), height


def enclosing(whole: list[Part]) -> Part | None:
    """The part whose box holds the boxes of all others, where there are others."""
    bounds = np.array([part.mesh.bounds for part in whole])
    for part in whole if len(whole) > 1 else []:
        slack = 0.01 * np.ptp(part.mesh.bounds, axis=0)
        if (bounds[:, 0] >= part.mesh.bounds[0] - slack).all() and (bounds[:, 1] <= part.mesh.bounds[1] + slack).all():
            return part
    return None


def _as_glass(picture: Picture, camera: Camera) -> Picture:
    """The picture seen through where its surface faces the viewer, denser where it turns away."""
    directions = camera.rays()[1]
    view = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).reshape(picture.normal.shape)
    facing = np.abs(np.einsum("hwc,hwc->hw", picture.normal, view))
    alpha = picture.alpha * (0.12 + 0.6 * (1 - np.minimum(facing, 1)) ** 2)
    return replace(picture, alpha=alpha.astype(np.float32))
