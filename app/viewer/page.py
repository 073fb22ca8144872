"""The page: a scene and the input that it was made from, and the panel beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import viser
from jaxtyping import Float

from app.kinds import MethodInput, kind_of
from app.viewer.controls import LabelControls, SectionControls
from app.viewer.layer import Color
from app.viewer.measure import MeasureTool
from app.viewer.splats import MOST_SHOWN, SplatLayer
from app.viewer.stills import Stills
from app.viewer.surfaces import Surface, SurfaceLayer
from app.viewer.viewpoint import ViewControls, nearest_axis, overview
from recon.gaussians.model import Gaussians
from recon.scene import Frame

PANEL_WIDTH = 320


class InputLayer(Protocol):
    """An input on the page; `colors` are those of its labels."""

    colors: Mapping[str, Color]

    def show(self, surfaces: Sequence[Surface], labels: LabelControls) -> None:
        """Takes in what surfaces there are now, and the controls that say which labels are seen."""
        ...

    def redraw(self) -> None:
        """Draws everything again, cut as the section says."""
        ...

    def restyle(self) -> None:
        """Sets what is visible, without sending geometry again."""
        ...

    def surroundings(self) -> Float[np.ndarray, "n 3"]:
        """What the first view takes in besides the content, in the page's frame."""
        ...

    def touchable_points(self) -> Float[np.ndarray, "n 3"] | None:
        """The points that a click can meet."""
        ...

    def offer_options(self, name: str, options: Any) -> None:
        """Lets the user try how the input is read, before any work, and says the flags; `options` it was read with."""
        ...


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
        input: MethodInput | None = None,
    ):
        self.server = server
        self.frame = Frame.fitting(bounds, unit, up)
        self.facts = server.gui.add_markdown("", order=0)
        axis = nearest_axis(up)
        self._corners = self.frame.from_user(np.stack(np.meshgrid(*bounds.T), -1).reshape(-1, 3))
        viewpoint = overview(axis, self._corners).position
        self.section = SectionControls(server, self.frame, bounds, viewpoint, self._redraw)
        self.labels = LabelControls(server, {}, self._restyle)
        self.surfaces = SurfaceLayer(server, self.section, self.labels)
        self.splats = SplatLayer(server, self.section)
        self.input: InputLayer | None = None if input is None else kind_of(input).layer(self, input)
        if self.input is not None:
            self._corners = np.concatenate([self._corners, self.input.surroundings()])
        self._measure = MeasureTool(server, self.frame, self.surfaces.visible_triangles, self._touchable_points)
        self._view = ViewControls(server, axis, self._corners)
        self.stills = Stills(server, self.splats, self._view.dark)
        server.gui.main_panel.dock_right()
        server.gui.main_panel.set_width(PANEL_WIDTH)
        self.show([])

    def show(self, surfaces: list[Surface]) -> None:
        """Replaces the surfaces, given in the page's frame; the controls keep their settings while labels stay."""
        colors = {} if self.input is None else dict(self.input.colors)
        colors |= {surface.name: surface.color for surface in surfaces}
        if colors != self.labels.colors:
            self.labels.remove()
            self.labels = LabelControls(self.server, colors, self._restyle)
        self.surfaces.show(surfaces, self.labels)
        if self.input is not None:
            self.input.show(surfaces, self.labels)

    def show_splats(self, gaussians: Gaussians | None, most: int = MOST_SHOWN) -> None:
        """Replaces the splats, given in the page's frame; the browser gets at most so many."""
        self.splats.show(gaussians, most)
        self.stills.renew()

    @property
    def right(self) -> Float[np.ndarray, "3"]:
        """The direction to the right as first seen."""
        return self._view.right

    def make_room(self, aside: Float[np.ndarray, "3"]) -> None:
        """Looks at the content and at as much again, moved by that vector."""
        self._view.fit(np.concatenate([self._corners, self._corners + aside]))

    def _touchable_points(self) -> Float[np.ndarray, "n 3"] | None:
        of_input = None if self.input is None else self.input.touchable_points()
        of_splats = self.splats.touchable_points()
        return of_splats if of_input is None else np.concatenate([of_input, of_splats])

    def _redraw(self) -> None:
        self.surfaces.redraw()
        self.splats.redraw()
        if self.input is not None:
            self.input.redraw()
        self.stills.renew()

    def _restyle(self) -> None:
        self.surfaces.restyle()
        if self.input is not None:
            self.input.restyle()
