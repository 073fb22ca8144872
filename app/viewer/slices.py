"""The input's slices on the page: contours as lines, the regions that they bound as transparent sheets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from app.viewer.controls import LabelControls
from app.viewer.layer import Layer
from app.viewer.section import Triangles, part_below
from recon.formats import SliceOptions
from recon.inputs import CrossSections
from recon.regions import owned_regions, triangulated
from recon.slices import Plane

if TYPE_CHECKING:
    from app.viewer.page import Page
    from app.viewer.surfaces import Surface

LINE_PIXELS = 1.5


class SliceLayer(Layer):
    """The slices of an input, with the folder "Input slices". The section plane cuts them as it cuts the surfaces."""

    def __init__(self, page: Page, sections: CrossSections):
        super().__init__(page.server)
        server = page.server
        self._frame, self._section, self._labels, self._sections = page.frame, page.section, page.labels, sections
        self.colors = {label.name: label.color for label in sections.labels}
        self._named = {label.id: label for label in sections.labels}
        last = len(sections.planes)
        with server.gui.add_folder("Input slices", order=3):
            self.outlines = server.gui.add_checkbox("Outlines", True)
            self.sheets = server.gui.add_checkbox("Filled", False)
            self._opacity = server.gui.add_slider("Opacity", 0.05, 1.0, 0.05, 1.0)
            self._range = server.gui.add_multi_slider("Slices", 1, last, 1, (1, last), visible=last > 1)
        for control in (self.outlines, self.sheets, self._range):
            control.on_update(lambda _: self.redraw())
        self._opacity.on_update(lambda _: self.restyle())

    def show(self, surfaces: Sequence[Surface], labels: LabelControls) -> None:
        """Draws the slices, each label visible as these controls say from now on."""
        if labels is not self._labels:
            with self.lock:
                self._labels = labels
                self.redraw()

    def surroundings(self) -> Float[np.ndarray, "0 3"]:
        """The content is all there is."""
        return np.zeros((0, 3))

    def touchable_points(self) -> None:
        """Clicks meet the surfaces alone."""

    def offer_options(self, name: str, options: SliceOptions | None) -> None:
        """Slices are taken as they are."""

    def draw(self) -> None:
        first, last = self._range.value
        plane = self._section.plane()
        for key, label in self._named.items():
            if self.outlines.value:
                curves = [curves[key] for curves in self._curves[first - 1 : last] if key in curves]
                segments = np.concatenate([np.zeros((0, 2, 3)), *curves])
                if plane is not None:
                    segments = segments[plane.height(segments).max(1) < 0]
                self.add_lines(f"/slices/{key}/outline", segments, [0.6 * c for c in label.color], LINE_PIXELS)
            if self.sheets.value:
                sheet = _joined([sheets[key] for sheets in self._fillings[first - 1 : last] if key in sheets])
                if plane is not None:
                    sheet = part_below(sheet, plane.height(sheet.vertices))
                self.add_mesh(f"/slices/{key}/sheet", sheet, label.color)

    def restyle(self) -> None:
        with self.lock:
            for path, node in (self.meshes | self.lines).items():
                node.visible = self._labels.visible(self._named[int(path.split("/")[2])].name)
            for sheet in self.meshes.values():
                sheet.opacity = None if self._opacity.value >= 1.0 else self._opacity.value

    @cached_property
    def _curves(self) -> list[dict[int, Float[np.ndarray, "n 2 3"]]]:
        """Per plane, the segments of each label's rings; elevation contours are the first label's."""
        return [self._curves_of(plane) for plane in self._sections.planes]

    def _curves_of(self, plane: Plane) -> dict[int, Float[np.ndarray, "n 2 3"]]:
        pieces: dict[int, list[Float[np.ndarray, "_ 2 2"]]] = {}
        for ring in plane.rings:
            ends = np.stack([ring.vertices, np.roll(ring.vertices, -1, axis=0)], axis=1)
            pieces.setdefault(ring.label, []).append(ends)
        for line in plane.lines:
            pieces.setdefault(self._sections.labels[0].id, []).append(np.stack([line[:-1], line[1:]], axis=1))
        return {key: self._to_page(plane, np.concatenate(ends)) for key, ends in pieces.items()}

    @cached_property
    def _fillings(self) -> list[dict[int, Triangles]]:
        """Per plane, the triangulated region that each label owns."""
        return [self._fillings_of(plane) for plane in self._sections.planes]

    def _fillings_of(self, plane: Plane) -> dict[int, Triangles]:
        unit = self._frame.scale
        regions = owned_regions(plane, self._sections.partition, unit)
        flat = {key: triangulated(region) for key, region in regions.items()}
        return {key: Triangles(self._to_page(plane, unit * points), faces) for key, (points, faces) in flat.items()}

    def _to_page(self, plane: Plane, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 3"]:
        return self._frame.from_user(plane.to_world(points))


def _joined(meshes: Sequence[Triangles]) -> Triangles:
    """Several meshes as one."""
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + offset for mesh, offset in zip(meshes, first[:-1], strict=True)]
    return Triangles(
        np.concatenate([np.zeros((0, 3)), *(mesh.vertices for mesh in meshes)]),
        np.concatenate([np.zeros((0, 3), np.int64), *faces]),
    )
