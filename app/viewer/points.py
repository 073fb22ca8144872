"""A point cloud on the page, over the surface or beside it; its colours may say how far it lies from the surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64

from app.viewer.layer import ORIGIN, Layer
from app.viewer.point_colors import choices, point_colors
from app.viewer.preparation import Preparation
from recon.formats import PointOptions
from recon.inputs import PointCloud

if TYPE_CHECKING:
    from app.viewer.controls import LabelControls
    from app.viewer.page import Page
    from app.viewer.surfaces import Surface

MOST_SHOWN = 1_000_000
OVER, BESIDE, HIDDEN = "over the surface", "beside it", "hidden"
GAP = 1.15  # the cloud beside the surface is moved by so much of its width
SIZES = (5e-4, 0.04)  # of the points, in the page's unit
SPACINGS_MEASURED = 2000


class PointLayer(Layer):
    """The points, with the folder "Points". The section plane takes away those that lie beyond it."""

    def __init__(self, page: Page, cloud: PointCloud):
        super().__init__(page.server)
        self.colors = {}
        self._page, self._surfaces = page, ()
        self._whole = cloud
        with page.server.gui.add_folder("Points", order=3):
            self.place = page.server.gui.add_dropdown("Show", (OVER, BESIDE, HIDDEN), visible=False)
            self.choice = page.server.gui.add_dropdown("Colour", choices(cloud, with_surface=False))
            self._legend = page.server.gui.add_html("", visible=False)
            self.scale_end = page.server.gui.add_number(
                "Scale to", 0.0, min=0.0, hint="0 fits the distances", visible=False
            )
            self.size = page.server.gui.add_slider("Size", *SIZES, SIZES[0], SIZES[0])
            self._said = page.server.gui.add_markdown("")
        self.replace(cloud)
        self.size.value = self._fitting_size()
        self.place.on_update(lambda _: self._move())
        for control in (self.choice, self.scale_end):
            control.on_update(lambda _: self.redraw())
        self.size.on_update(lambda _: self.restyle())

    def replace(self, cloud: PointCloud) -> None:
        """Shows other points, of which the browser gets at most `MOST_SHOWN`, chosen at random."""
        with self.lock:
            count = len(cloud.points)
            shown = np.random.default_rng(0).permutation(count)[:MOST_SHOWN] if count > MOST_SHOWN else np.arange(count)
            self._shown = cloud.subset(shown)
            self._places = self._page.frame.from_user(self._shown.points)
            self._distances: Float64[np.ndarray, " n"] | None = None
            some = f", {len(shown):,} of them shown, chosen at random" if len(shown) < count else ""
            self._said.content = f"{count:,} points{some}"
            self.redraw()

    def show(self, surfaces: Sequence[Surface], labels: LabelControls) -> None:
        """Measures distances from these surfaces from now on."""
        with self.lock:
            if bool(surfaces) != bool(self._surfaces):
                self.place.visible = bool(surfaces)
                self.choice.options = choices(self._whole, with_surface=bool(surfaces))
                self.choice.value = self.choice.options[0]
            self._surfaces, self._distances = surfaces, None
            self.redraw()

    def offer_options(self, name: str, options: PointOptions) -> None:
        """The folder "Prepare"."""
        self._preparation = Preparation(self.server, name, self._whole, options, self.replace)

    def surroundings(self) -> Float[np.ndarray, "0 3"]:
        """The content is all there is."""
        return np.zeros((0, 3))

    def touchable_points(self) -> Float[np.ndarray, "n 3"] | None:
        """Those that are drawn."""
        with self.lock:
            drawn = [node.points.astype(np.float64) + node.position for node in self.points.values()]
            return drawn[0] if drawn else None

    def draw(self) -> None:
        measured = self.choice.value == "distance"
        if measured and self._distances is None:
            self._distances = self._measured()
        fitting = 0.0 if self._distances is None else float(np.quantile(self._distances, 0.99))
        self.scale_end.visible = measured and self._distances is not None
        told = point_colors(self._shown, self.choice.value, self._distances, self.scale_end.value or fitting or 1e-12)
        self._legend.content, self._legend.visible = told.legend, bool(told.legend)
        if self.place.value == HIDDEN:
            return
        plane = self._page.section.plane()
        kept = slice(None) if plane is None else plane.height(self._places) < 0
        self.add_points("/points", self._places[kept], told.colors[kept], self.size.value, self._aside())

    def restyle(self) -> None:
        with self.lock:
            for node in self.points.values():
                node.point_size = self.size.value

    def _measured(self) -> Float64[np.ndarray, " n"] | None:
        """The distances of the points that are shown, in the user's unit; None where there is no surface."""
        from recon.surface.closest import TriangleIndex

        triangles = [surface.full.vertices[surface.full.faces] for surface in self._surfaces if len(surface.full.faces)]
        if not triangles:
            return None
        return TriangleIndex(np.concatenate(triangles)).closest(self._places).distances * self._page.frame.scale

    def _move(self) -> None:
        self.redraw()
        self._page.make_room(self._aside())

    def _aside(self) -> Float64[np.ndarray, "3"]:
        """Where the points are moved: to the right of the surface, as seen at first, where they stand beside it."""
        if self.place.value != BESIDE:
            return ORIGIN
        right = self._page.right
        return GAP * np.ptp(self._places @ right) * right

    def _fitting_size(self) -> float:
        """About the distance between neighbours."""
        from scipy.spatial import KDTree

        some = self._places[:SPACINGS_MEASURED]
        nearest = KDTree(self._places).query(some, k=min(2, len(self._places)))[0].reshape(len(some), -1)[:, -1]
        return float(np.clip(1.6 * np.median(nearest), *SIZES))
