"""The page: a scene and the slices that it was made from, and the panel beside them."""

from __future__ import annotations

import numpy as np
import viser
from jaxtyping import Float

from app.viewer.controls import LabelControls, SectionControls
from app.viewer.measure import MeasureTool
from app.viewer.slices import SliceLayer
from app.viewer.surfaces import Surface, SurfaceLayer
from app.viewer.viewpoint import ViewControls, nearest_axis, overview
from recon.inputs import CrossSections
from recon.scene import Frame

PANEL_WIDTH = 320


class Page:
    """What one server shows, to all browsers alike.

    The user coordinates `bounds` (2, 3), lowest and highest, of all that will be shown fix the page's own `frame`, in
    which the content is centred and two units long. `facts` stands above the controls, as markdown.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        bounds: Float[np.ndarray, "2 3"],
        unit: str,
        up: tuple[float, float, float],
        sections: CrossSections | None = None,
    ):
        self._server, self._sections = server, sections
        self.frame = Frame.fitting(bounds, unit, up)
        self.facts = server.gui.add_markdown("", order=0)
        axis, corners = nearest_axis(up), self.frame.from_user(np.stack(np.meshgrid(*bounds.T), -1).reshape(-1, 3))
        viewpoint = overview(axis, corners).position
        self.section = SectionControls(server, self.frame, bounds, viewpoint, self._redraw)
        self._labels = LabelControls(server, {}, self._restyle)
        self.surfaces = SurfaceLayer(server, self.section, self._labels)
        self.slices = None
        if sections is not None:
            self.slices = SliceLayer(server, self.frame, sections, self.section, self._labels)
        self._measure = MeasureTool(server, self.frame, self.surfaces.visible_triangles)
        self._view = ViewControls(server, axis, corners)
        server.gui.main_panel.dock_right()
        server.gui.main_panel.set_width(PANEL_WIDTH)
        self.show([])

    def show(self, surfaces: list[Surface]) -> None:
        """Replaces the surfaces, given in the page's frame; the controls keep their settings while labels stay."""
        colors = {} if self._sections is None else {label.name: label.color for label in self._sections.labels}
        colors |= {surface.name: surface.color for surface in surfaces}
        if colors != self._labels.colors:
            self._labels.remove()
            self._labels = LabelControls(self._server, colors, self._restyle)
            if self.slices is not None:
                self.slices.show(self._labels)
        self.surfaces.show(surfaces, self._labels)

    def _redraw(self) -> None:
        self.surfaces.redraw()
        if self.slices is not None:
            self.slices.redraw()

    def _restyle(self) -> None:
        self.surfaces.restyle()
        if self.slices is not None:
            self.slices.restyle()
