"""Points in the report: what they look like, how far they lie from the result, and where the result is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from app.distance_scale import scale_color
from app.inspection_points import describe_points
from app.markup import Markup, element, joined, picture, table
from app.report_evidence import LEAST_SCALE, Distances
from app.report_pictures import PALE, Image, Viewpoint, backdrop, result_pictures
from recon.formats.meshes import whole
from recon.inputs import PointCloud
from recon.scene import Scene
from recon.surface.boundary import Boundary, boundary_of, in_words
from recon.surface.deviation import point_distances
from render.cameras import Camera
from render.lines import draw_segments
from render.points import covering_diameter, plane_normals, render_points

DRAWN = 200_000
PLAIN = (0.62, 0.70, 0.78)
LOOP_COLOR = (0.85, 0.10, 0.35)
BEHIND = 0.01  # of the diagonal: points so little behind the result are drawn, because noise put them there
LOOPS_LISTED = 12


class PointEvidence:
    """The points beside the result; see `app.report_evidence.Evidence`."""

    samples, amount, elevation = "points", "them", 20.0

    def __init__(self, scene: Scene, cloud: PointCloud) -> None:
        self.scene, self.cloud, self.notes = scene, cloud, cloud.notes
        self.mesh = whole(scene)
        self.diagonal = float(np.linalg.norm(np.ptp(cloud.points, axis=0)))
        found, count = point_distances(self.mesh, cloud.points), len(cloud.points)
        self.distances = Distances(found, np.ones(count), np.zeros(count, np.int64), LEAST_SCALE * self.diagonal)
        chosen = np.random.default_rng(0).permutation(count)[:DRAWN]
        self.drawn, self.drawn_distance = cloud.subset(chosen), found[chosen]
        self.drawn_normals = plane_normals(self.drawn.points) if self.drawn.normals is None else self.drawn.normals

    def extent(self) -> Float[np.ndarray, "n 3"]:
        return self.drawn.points

    def understood(self, name: str) -> str:
        facts = describe_points(self.cloud, Path(name), "")
        known = {"normals": "normals", "colors": "colours", "intensity": "intensity", "classes": "classes"}
        having = " and ".join(word for key, word in known.items() if facts[key])
        unit = "" if self.cloud.unit == "unknown" else f" {self.cloud.unit}"
        size = " × ".join(f"{side:.4g}" for side in facts["extent"]["size"])
        low, median, high = (f"{facts['spacing'][key]:.3g}" for key in ("low", "median", "high"))
        unknown = "" if unit else " The unit of length is unknown."
        return (
            f"{facts['points']:,} points{having and f' with {having}'}; {size}{unit}; the nearest neighbour is "
            f"{median}{unit} away ({low} to {high} for 90 % of the points), and 12 neighbours lie "
            f"{facts['roughness']:.3g}{unit} off their plane.{unknown}"
        )

    def pictures(self, viewpoints: Sequence[Viewpoint]) -> tuple[list[Image], str]:
        colors = PLAIN if self.drawn.colors is None else self.drawn.colors / 255
        images = [
            render_points(
                self.drawn.points, camera, colors, covering_diameter(self.drawn.points, camera), self.drawn_normals
            ).over(backdrop(camera))
            for camera in (viewpoint.camera for viewpoint in viewpoints)
        ]
        some = "" if len(self.drawn.points) == len(self.cloud.points) else f", {len(self.drawn.points):,} of them drawn"
        return images, f"The input's {len(self.cloud.points):,} points from the same sides{some}"

    def distance_picture(self, camera: Camera) -> Image:
        ((image, surface),) = result_pictures(self.scene, [camera], PALE)
        colors = scale_color(self.drawn_distance / self.distances.greatest_shown)
        dots = render_points(self.drawn.points, camera, colors, min(covering_diameter(self.drawn.points, camera), 3.0))
        before = dots.depth <= surface.depth + BEHIND * self.diagonal
        return replace(dots, alpha=dots.alpha * before).over(image)

    def further(self, run: Mapping[str, Any], viewpoints: Sequence[Viewpoint]) -> Markup:
        """Open or closed, and where."""
        boundary = boundary_of(self.mesh)
        said = [note for note in run.get("warnings", []) if note not in self.notes]
        why = element("ul", *(element("li", note) for note in said)) if said else None
        heading = element("h2", "Open or closed")
        if not len(boundary.lengths):
            return joined(heading, element("p", "The result is closed: it has no boundary."), why)
        unit = "" if self.scene.frame.unit == "unknown" else f" {self.scene.frame.unit}"
        sentence = f"The result is open: {in_words(len(boundary.lengths), f'{boundary.lengths.sum():.4g}{unit}')}."
        images = [self._boundary_picture(boundary, viewpoint.camera) for viewpoint in viewpoints]
        figures = (element("figure", picture(image, "boundary loops")) for image in images)
        return joined(
            heading, element("p", sentence), why, element("div", *figures, class_="sides"), _loops(boundary, unit)
        )

    def _boundary_picture(self, boundary: Boundary, camera: Camera) -> Image:
        """The pale result with its boundary drawn over it, fainter where it is hidden."""
        ((image, surface),) = result_pictures(self.scene, [camera], PALE)
        return draw_segments(image, camera, boundary.segments, LOOP_COLOR, 2.4, surface.depth, hidden=0.3)


def _loops(boundary: Boundary, unit: str) -> Markup:
    """The longest loops, each with its length, its extent and where its middle is."""
    rows = []
    for loop, length in enumerate(boundary.lengths[:LOOPS_LISTED]):
        ends = boundary.segments[boundary.loop == loop].reshape(-1, 3)
        size = " × ".join(f"{side:.4g}" for side in np.ptp(ends, axis=0))
        middle = ", ".join(f"{value:.6g}" for value in (ends.min(0) + ends.max(0)) / 2)
        rows.append([str(loop + 1), f"{length:.4g}", size, middle])
    more = len(boundary.lengths) - len(rows)
    note = element("p", f"{more} shorter loops are not listed.", class_="soft") if more else None
    headings = ["boundary loop", f"length{unit and f' ({unit.strip()})'}", "extent", "middle"]
    return joined(table(headings, rows), note)
