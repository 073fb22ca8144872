"""Which points to take, tried on the page before any work: the folder "Prepare" with the flags that do the same."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import viser

from app.viewer.controls import slider_range
from recon.errors import UserError
from recon.formats import PointOptions
from recon.inputs import PointCloud
from recon.thinning import chosen

COARSEST = 30.0  # cubes of at most so many spacings
OFF = 1.0  # of the slider for outliers


class Preparation:
    """Sliders for a box, for the side of the cubes that keep a point each, and for outliers.

    What they choose of `cloud` is given to `show`; the newest setting wins where several come while points are chosen.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        name: str,
        cloud: PointCloud,
        options: PointOptions,
        show: Callable[[PointCloud], None],
    ):
        self._name, self._cloud, self._options, self._show = name, cloud, options, show
        self._lock, self._request = threading.Lock(), object()
        low, high = cloud.points.min(0), cloud.points.max(0)
        with server.gui.add_folder("Prepare", order=1):
            self.box = []
            for axis, first, last in zip("xyz", low, high, strict=True):
                least, most, step, _ = slider_range(first, last)
                self.box.append(server.gui.add_multi_slider(f"Crop {axis}", least, most, step, (least, most)))
            side = COARSEST * float(np.sqrt(np.prod(np.sort(high - low)[1:]) / len(cloud.points)))
            _, most, step, _ = slider_range(0.0, side)
            self.thin = server.gui.add_slider("Thin", 0.0, most, step, 0.0, hint="One point a cube of this side")
            self.outliers = server.gui.add_slider(
                "Drop outliers", OFF, 10.0, 0.5, OFF, hint="Beyond so many times the usual distance; 1 is off"
            )
            self.said = server.gui.add_markdown("")
        for control in (*self.box, self.thin, self.outliers):
            control.on_update(lambda _: self._choose())
        self._say(len(cloud.points), "")

    def options(self) -> PointOptions:
        """What the sliders say; None for those that stand at their ends."""
        changed = [(slider.value, (slider.min, slider.max)) for slider in self.box]
        ends = [(value[0], value[1]) for value, _ in changed]
        cropped = any(tuple(value) != tuple(whole) for value, whole in changed)
        corners = [end[side] for side in (0, 1) for end in ends]
        return PointOptions(
            crop=",".join(f"{corner:.10g}" for corner in corners) if cropped else None,
            thin=self.thin.value or None,
            drop_outliers=self.outliers.value if self.outliers.value > OFF else None,
        )

    def command(self) -> str:
        """The command that reconstructs from these points."""
        options = self.options()
        said = {name: getattr(options, name) or getattr(self._options, name) for name in options.__struct_fields__}
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in said.items() if value is not None]
        return " \\\n  ".join([shlex.join(["reconstruct", self._name]), *map(shlex.quote, flags)])

    def _choose(self) -> None:
        request = self._request = object()
        with self._lock:
            if request is not self._request:
                return
            try:
                taken = chosen(self._cloud, self.options(), Path(self._name))
            except UserError as problem:
                self._say(0, str(problem))
                return
            self._show(taken)
            self._say(len(taken.points), "")

    def _say(self, count: int, problem: str) -> None:
        share = problem or f"{count:,} of {len(self._cloud.points):,} points are taken."
        self.said.content = f"{share}\n\n```\n{self.command()}\n```"
