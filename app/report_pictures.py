"""The pictures of the report: the result from four sides, the input's slices from the same sides, and how far the
input's contours lie from the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from recon.formats.meshes import Part, joined, parts
from recon.inputs import CrossSections, Label, Plane
from recon.scene import Scene
from render.cameras import Camera, four_sides, framing
from render.lines import draw_segments, polyline_segments
from render.meshes import Picture, render_meshes

if TYPE_CHECKING:
    import trimesh

PIXELS = 480 * 400
MOST_PLANES = 32
PIECE, LEAST_SCALE = 0.005, 1e-3  # parts of the diagonal
ELEVATION, TERRAIN_ELEVATION = 20.0, 38.0
LINE = (0.13, 0.15, 0.18)
PALE = (0.86, 0.87, 0.88)
SCALE_COLORS = np.array([[0.16, 0.45, 0.70], [0.35, 0.72, 0.66], [0.98, 0.80, 0.36], [0.84, 0.19, 0.15]])

Image = Float32[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Distances:
    """How far the input's contours lie from the result, in the user's unit: short `segments` with the `distance` of
    each one's middle and the id of its `label`. `least_scale` is a distance too small to be worth a colour."""

    segments: Float64[np.ndarray, "n 2 3"]
    distance: Float64[np.ndarray, " n"]
    label: Int64[np.ndarray, " n"]
    least_scale: float

    @property
    def length(self) -> Float64[np.ndarray, " n"]:
        """How long each piece is."""
        return np.linalg.norm(self.segments[:, 1] - self.segments[:, 0], axis=1)

    @property
    def greatest_shown(self) -> float:
        """The distance at the end of the colour scale: what 99 % of the contours' length stays under, or the least."""
        return max(self.quantile(0.99), self.least_scale)

    def mean(self) -> float:
        """The mean over the contours' length."""
        return float(np.average(self.distance, weights=np.maximum(self.length, 1e-300)))

    def quantile(self, share: float) -> float:
        """The distance that this share of the contours' length stays under."""
        order = np.argsort(self.distance)
        length = np.cumsum(self.length[order])
        at = np.searchsorted(length, share * length[-1])
        return float(self.distance[order][min(at, len(order) - 1)])

    def of(self, label: int) -> Distances | None:
        """Those of one label's contours; None where it has none."""
        mine = self.label == label
        if not mine.any():
            return None
        return Distances(self.segments[mine], self.distance[mine], self.label[mine], self.least_scale)


def side_cameras(scene: Scene, sections: CrossSections | None) -> list[Camera]:
    """Cameras on four sides, of one size, that see the result and the input's contours whole."""
    points = [np.asarray(part.mesh.vertices) for part in parts(scene)]
    points += [] if sections is None else [segments.reshape(-1, 3) for segments in _contours(sections.planes).values()]
    every = np.concatenate(points)
    terrain = sections is not None and sections.is_terrain
    directions = four_sides(scene.frame.up, TERRAIN_ELEVATION if terrain else ELEVATION)
    size = _size(every, directions, scene.frame.up)
    return [framing(every, direction, scene.frame.up, size, field_of_view=24) for direction in directions]


def result_pictures(scene: Scene, cameras: Sequence[Camera]) -> list[Image]:
    """The scene's objects in their colours. One that encloses all the others is drawn as glass."""
    return [image for image, _ in _result(scene, cameras, None)]


def slice_pictures(scene: Scene, sections: CrossSections, cameras: Sequence[Camera]) -> tuple[list[Image], int]:
    """The input's slices as sheets with their outlines, and how many were drawn: evenly chosen where there are many.

    Of a label that encloses all the others the outlines alone are drawn.
    """
    step = 1 if sections.is_terrain else int(np.ceil(len(sections.planes) / MOST_PLANES))
    planes = sections.planes[::step]
    outlines = _contours(planes)
    labels = {label.id: label.color for label in sections.labels}
    tiled = (np.tile(labels.get(key, LINE), (len(lines), 1)) for key, lines in outlines.items())
    colors = 0.5 * np.concatenate([np.zeros((0, 3)), *tiled])
    segments = np.concatenate([np.zeros((0, 2, 3)), *outlines.values()])
    shell = _enclosing(parts(scene))
    sheets = _sheets([label for label in sections.labels if not shell or label.name != shell.name], sections, planes)
    images: list[Image] = []
    pictures = [None] * len(cameras) if sheets is None else render_meshes(sheets, cameras, lit=False)
    for camera, picture in zip(cameras, pictures, strict=True):
        image = backdrop(camera) if picture is None else _hazy(picture).over(backdrop(camera))
        depth = None if picture is None else picture.depth
        images.append(draw_segments(image, camera, segments, colors, 1.3, depth, hidden=0.0))
    return images, len(planes)


def distance_picture(scene: Scene, distances: Distances, camera: Camera) -> Image:
    """The input's contours over the pale result, coloured by their distance from it."""
    ((image, picture),) = _result(scene, [camera], PALE)
    colors = scale_color(distances.distance / distances.greatest_shown)
    return draw_segments(image, camera, distances.segments, colors, 2.2, picture.depth, hidden=0.18)


def scale_color(part: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 3"]:
    """Colours of the scale from blue (0) through green and yellow to red (1 and more)."""
    at = np.linspace(0, 1, len(SCALE_COLORS))
    return np.stack([np.interp(part, at, channel) for channel in SCALE_COLORS.T], axis=1)


def contour_distances(scene: Scene, sections: CrossSections) -> Distances | None:
    """Distances of the drawn contours, cut into short pieces, from the result; None where there is no contour.

    Where the result has an object for a contour's label, that object is what counts.
    """
    from recon.surface.closest import TriangleIndex

    names = {label.id: label.name for label in sections.labels}
    whole = joined(parts(scene))
    diagonal = float(np.linalg.norm(np.ptp(whole.bounds, axis=0)))
    pieces, found, labels = [], [], []
    for key, segments in _contours(sections.planes).items():
        short = _cut(segments, PIECE * diagonal)
        mesh = scene.objects.get(names.get(key, ""), whole)
        pieces.append(short)
        found.append(TriangleIndex(np.asarray(mesh.triangles)).closest(short.mean(1)).distances)
        labels.append(np.full(len(short), key))
    if not found:
        return None
    return Distances(np.concatenate(pieces), np.concatenate(found), np.concatenate(labels), LEAST_SCALE * diagonal)


def backdrop(camera: Camera) -> Image:
    """A light grey that darkens downward."""
    rows = np.linspace(0, 1, camera.height, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(color, np.float32) for color in ((0.965, 0.970, 0.975), (0.875, 0.890, 0.905)))
    return np.broadcast_to(top + rows * (bottom - top), (camera.height, camera.width, 3))


def _result(
    scene: Scene, cameras: Sequence[Camera], colors: tuple[float, float, float] | None
) -> list[tuple[Image, Picture]]:
    """The scene on the backdrop, and the picture of what is not glass in it."""
    whole = parts(scene)
    shell = _enclosing(whole)
    inner = joined([part for part in whole if part is not shell])
    pictures = render_meshes(inner, cameras, colors, scene.frame.up)
    images = [picture.over(backdrop(camera)) for picture, camera in zip(pictures, cameras, strict=True)]
    if shell is not None:
        glasses = render_meshes(joined([shell]), cameras, colors, scene.frame.up)
        images = [_as_glass(g, c).over(image) for g, c, image in zip(glasses, cameras, images, strict=True)]
    return list(zip(images, pictures, strict=True))


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


def _contours(planes: Sequence[Plane]) -> dict[int, Float64[np.ndarray, "n 2 3"]]:
    """The contours' segments by label, open lines under 0."""
    found: dict[int, list[np.ndarray]] = {}
    for plane in planes:
        for ring in plane.rings:
            found.setdefault(ring.label, []).append(polyline_segments(plane.to_world(ring.vertices), closed=True))
        for line in plane.lines:
            found.setdefault(0, []).append(polyline_segments(plane.to_world(line), closed=False))
    return {key: np.concatenate(segments) for key, segments in found.items()}


def _sheets(labels: list[Label], sections: CrossSections, planes: Sequence[Plane]) -> trimesh.Trimesh | None:
    """The regions that these labels own on the planes, as flat coloured sheets; None where there is none."""
    import trimesh

    from recon.regions import owned_regions, triangulated

    unit = max((float(np.abs(ring.vertices).max()) for plane in planes for ring in plane.rings), default=1.0)
    sheets: list[Part] = []
    for plane in planes:
        regions = owned_regions(plane, sections.partition, unit)
        for label in labels:
            if label.id in regions:
                points, faces = triangulated(regions[label.id])
                mesh = trimesh.Trimesh(plane.to_world(unit * points), faces, process=False)
                sheets += [Part(label.name, mesh, label.color)] if len(faces) else []
    return joined(sheets) if sheets else None


def _cut(segments: Float64[np.ndarray, "n 2 3"], longest: float) -> Float64[np.ndarray, "m 2 3"]:
    """The segments cut into equal pieces no longer than `longest`."""
    count = np.maximum(np.ceil(np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1) / longest), 1).astype(np.int64)
    owner = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    ends = np.stack([step, step + 1], axis=1) / count[owner][:, None]
    start, along = segments[owner, 0], segments[owner, 1] - segments[owner, 0]
    return start[:, None] + ends[..., None] * along[:, None]


def _enclosing(whole: list[Part]) -> Part | None:
    """The part whose box holds the boxes of all others, where there are others."""
    bounds = np.array([part.mesh.bounds for part in whole])
    for part in whole if len(whole) > 1 else []:
        slack = 0.01 * np.ptp(part.mesh.bounds, axis=0)
        if (bounds[:, 0] >= part.mesh.bounds[0] - slack).all() and (bounds[:, 1] <= part.mesh.bounds[1] + slack).all():
            return part
    return None


def _hazy(picture: Picture) -> Picture:
    """The picture with what is far away paler."""
    seen = np.isfinite(picture.depth)
    near, far = np.min(picture.depth, where=seen, initial=np.inf), np.max(picture.depth, where=seen, initial=-np.inf)
    part = np.where(seen, (picture.depth - near) / max(far - near, 1e-12), 0)[..., None]
    return replace(picture, color=picture.color + (0.15 + 0.45 * part) * (np.float32(0.93) - picture.color))


def _as_glass(picture: Picture, camera: Camera) -> Picture:
    """The picture seen through where its surface faces the viewer, denser where it turns away."""
    directions = camera.rays()[1]
    view = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).reshape(picture.normal.shape)
    facing = np.abs(np.einsum("hwc,hwc->hw", picture.normal, view))
    alpha = picture.alpha * (0.12 + 0.6 * (1 - np.minimum(facing, 1)) ** 2)
    return replace(picture, alpha=alpha.astype(np.float32))
