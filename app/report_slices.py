"""Slices in the report: sheets with their outlines, and how far the contours lie from the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float64

from app.distance_scale import scale_color
from app.inspection import describe
from app.markup import Markup
from app.report_evidence import LEAST_SCALE, Distances
from app.report_pictures import PALE, Image, Viewpoint, backdrop, enclosing, result_pictures
from recon.formats.meshes import Part, joined, parts
from recon.inputs import CrossSections
from recon.scene import Scene
from recon.slices import Label, Plane
from render.cameras import Camera
from render.lines import draw_segments, polyline_segments
from render.meshes import Picture, render_meshes

if TYPE_CHECKING:
    import trimesh

MOST_PLANES = 32
PIECE = 0.005  # parts of the diagonal
ELEVATION, TERRAIN_ELEVATION = 20.0, 38.0
LINE = (0.13, 0.15, 0.18)


class SliceEvidence:
    """The slices beside the result; see `app.report_evidence.Evidence`."""

    samples, amount = "contours", "their length"

    def __init__(self, scene: Scene, sections: CrossSections) -> None:
        self.scene, self.sections = scene, sections
        self.notes = sections.notes
        self.elevation = TERRAIN_ELEVATION if sections.is_terrain else ELEVATION
        self.segments, self.distances = contour_distances(scene, sections)

    def extent(self) -> Float[np.ndarray, "n 3"]:
        return self.sections.extent

    def understood(self, name: str) -> str:
        facts = describe(self.sections, Path(name), "")
        unit = "" if self.sections.unit == "unknown" else f" {self.sections.unit}"
        distance = facts["plane_distance"]
        planes = f"{facts['planes']} planes, not parallel"
        if distance:
            even = distance["greatest"] - distance["least"] <= 1e-3 * distance["greatest"]
            span = f"{distance['median']:.4g}" if even else f"{distance['least']:.4g} to {distance['greatest']:.4g}"
            planes = f"{facts['planes']} parallel planes, {span}{unit} apart"
        size = " × ".join(f"{side:.4g}" for side in facts["extent"]["size"])
        labels = f"{len(self.sections.labels)} label{'s' * (len(self.sections.labels) != 1)}"
        unknown = "" if unit else " The unit of length is unknown."
        return (
            f"{facts['kind'].capitalize()}: {planes}, {facts['empty_planes']} of them empty; {facts['contours']} "
            f"contours with {facts['contour_vertices']:,} vertices; {labels}; {size}{unit}.{unknown}"
        )

    def pictures(self, viewpoints: Sequence[Viewpoint]) -> tuple[list[Image], str]:
        images, drawn = slice_pictures(self.scene, self.sections, [viewpoint.camera for viewpoint in viewpoints])
        of = len(self.sections.planes)
        return images, "The input's slices from the same sides" + (f", {drawn} of {of} drawn" if drawn < of else "")

    def distance_picture(self, camera: Camera) -> Image:
        assert self.distances is not None
        ((image, picture),) = result_pictures(self.scene, [camera], PALE)
        colors = scale_color(self.distances.distance / self.distances.greatest_shown)
        return draw_segments(image, camera, self.segments, colors, 2.2, picture.depth, hidden=0.18)

    def further(self, run: Mapping[str, Any], viewpoints: Sequence[Viewpoint]) -> Markup | None:
        return None


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
    shell = enclosing(parts(scene))
    sheets = _sheets([label for label in sections.labels if not shell or label.name != shell.name], sections, planes)
    images: list[Image] = []
    pictures = [None] * len(cameras) if sheets is None else render_meshes(sheets, cameras, lit=False)
    for camera, picture in zip(cameras, pictures, strict=True):
        image = backdrop(camera) if picture is None else _hazy(picture).over(backdrop(camera))
        depth = None if picture is None else picture.depth
        images.append(draw_segments(image, camera, segments, colors, 1.3, depth, hidden=0.0))
    return images, len(planes)


def contour_distances(scene: Scene, sections: CrossSections) -> tuple[Float64[np.ndarray, "n 2 3"], Distances | None]:
    """The drawn contours, cut into short pieces, and how far the middle of each lies from the result, weighted by its
    length; None where there is no contour.

    Where the result has an object for a contour's label, that object is what counts.
    """
    from recon.surface.closest import TriangleIndex

    names = {label.id: label.name for label in sections.labels}
    whole = joined(parts(scene))
    diagonal = float(np.linalg.norm(np.ptp(whole.bounds, axis=0)))
    pieces, found, labels = [np.zeros((0, 2, 3))], [], []
    for key, segments in _contours(sections.planes).items():
        short = _cut(segments, PIECE * diagonal)
        mesh = scene.objects.get(names.get(key, ""), whole)
        pieces.append(short)
        found.append(TriangleIndex(np.asarray(mesh.triangles)).closest(short.mean(1)).distances)
        labels.append(np.full(len(short), key))
    every = np.concatenate(pieces)
    if not found:
        return every, None
    length = np.linalg.norm(every[:, 1] - every[:, 0], axis=1)
    return every, Distances(np.concatenate(found), length, np.concatenate(labels), LEAST_SCALE * diagonal)


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


def _hazy(picture: Picture) -> Picture:
    """The picture with what is far away paler."""
    seen = np.isfinite(picture.depth)
    near, far = np.min(picture.depth, where=seen, initial=np.inf), np.max(picture.depth, where=seen, initial=-np.inf)
    part = np.where(seen, (picture.depth - near) / max(far - near, 1e-12), 0)[..., None]
    return replace(picture, color=picture.color + (0.15 + 0.45 * part) * (np.float32(0.93) - picture.color))
