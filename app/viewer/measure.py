"""Measuring: two clicks on what is seen give the distance between the points, in the user's unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import viser
from jaxtyping import Float

from app.viewer.section import Triangles
from recon.scene import Frame

MARK_COLOR = (214, 84, 40)
MARK_RADIUS = 0.012


REACH = 0.01  # a click meets a point that is this near to its ray, as a tangent


def first_point(
    origin: Float[np.ndarray, "3"], direction: Float[np.ndarray, "3"], points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "3"] | None:
    """Of the points within `REACH` of a ray, the first along it; None where there is none."""
    along = (points - origin) @ direction / np.linalg.norm(direction)
    across = np.linalg.norm(np.cross(points - origin, direction / np.linalg.norm(direction)), axis=1)
    near = np.flatnonzero((along > 0) & (across < REACH * along))
    return points[near[along[near].argmin()]] if len(near) else None


def first_hit(
    origin: Float[np.ndarray, "3"], direction: Float[np.ndarray, "3"], meshes: Sequence[Triangles]
) -> Float[np.ndarray, "3"] | None:
    """Where a ray first meets a triangle from either side (Moeller & Trumbore 1997); None where it meets none."""
    nearest = np.inf
    for mesh in meshes:
        a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
        ab, ac, ao = b - a, c - a, origin - a
        p = np.cross(direction, ac)
        determinant = (ab * p).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (ao * p).sum(1) / determinant
            q = np.cross(ao, ab)
            v = q @ direction / determinant
            t = (ac * q).sum(1) / determinant
            hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        nearest = min(nearest, t[hit].min(initial=np.inf))
    return origin + nearest * direction if np.isfinite(nearest) else None


class MeasureTool:
    """The folder "Measure". While its box is checked, clicks set the two ends in turn."""

    def __init__(
        self,
        server: viser.ViserServer,
        frame: Frame,
        visible_triangles: Callable[[], list[Triangles]],
        visible_points: Callable[[], Float[np.ndarray, "n 3"] | None],
    ):
        self._server, self._frame = server, frame
        self._visible_triangles, self._visible_points = visible_triangles, visible_points
        self._ends: list[Float[np.ndarray, "3"]] = []
        with server.gui.add_folder("Measure", order=4, expand_by_default=False):
            self._active = server.gui.add_checkbox("Click two points", False)
            self._result = server.gui.add_markdown("")
        self._active.on_update(lambda _: self._toggle())

    def _toggle(self) -> None:
        self._server.scene.remove_click_callback()
        if self._active.value:
            self._server.scene.on_click()(self._clicked)
        self._ends = []
        self._draw()

    def _clicked(self, event: viser.SceneClickEvent) -> None:
        ray = np.array(event.ray_origin), np.array(event.ray_direction)
        points = self._visible_points()
        hits = [first_hit(*ray, self._visible_triangles()), None if points is None else first_point(*ray, points)]
        hit = min((hit for hit in hits if hit is not None), key=lambda at: np.linalg.norm(at - ray[0]), default=None)
        if hit is not None:
            self._ends = [*(self._ends if len(self._ends) < 2 else ()), hit]
            self._draw()

    def _draw(self) -> None:
        self._server.scene.remove_by_name("/measure")
        for i, end in enumerate(self._ends):
            self._server.scene.add_icosphere(f"/measure/{i}", radius=MARK_RADIUS, color=MARK_COLOR, position=end)
        if len(self._ends) == 2:
            segment = np.array([self._ends])
            self._server.scene.add_line_segments(
                "/measure/line", segment, MARK_COLOR, thickness=3.0, thickness_units="screen"
            )
        self._result.content = self._sentence()

    def _sentence(self) -> str:
        if not self._ends:
            return "Click on the first point." if self._active.value else ""
        unit = "" if self._frame.unit == "unknown" else f" {self._frame.unit}"
        digits = max(0, int(np.ceil(3 - np.log10(self._frame.scale))))  # a thousandth of half the extent, or finer
        ends = [self._frame.to_user(end) for end in self._ends]
        lines = ["(" + ", ".join(f"{coordinate:.{digits}f}" for coordinate in end) + ")" for end in ends]
        if len(ends) == 2:
            lines.append(f"**{np.linalg.norm(ends[1] - ends[0]):.{digits}f}{unit}** apart")
        return "  \n".join(lines)
