"""The folder "Progress" of the live page: the stage, a bar, the remaining time, the loss curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import viser
from viser.uplot import Series

from recon.progress import Progress, spoken

CURVE_POINTS = 400
CURVE_COLORS = ("#3a6084", "#c25b2a", "#4f8a4b", "#8a5a9e", "#a08a2c")


class ProgressPanel:
    """Shows what a Trainer tells. A new stage starts new curves."""

    def __init__(self, server: viser.ViserServer):
        self._server = server
        self._folder = server.gui.add_folder("Progress", order=0.5)
        with self._folder:
            self._sentence = server.gui.add_markdown("waiting for the first step")
            self._bar = server.gui.add_progress_bar(0.0, animated=True)
        self._plot: viser.GuiUplotHandle | None = None
        self._plotted: tuple[str, ...] = ()
        self._curve: list[Progress] = []

    def show(self, progress: Sequence[Progress]) -> None:
        """Takes in what was told since the last call, oldest first."""
        for told in progress:
            if self._curve and self._curve[-1].stage != told.stage:
                self._curve.clear()
            self._curve.append(told)
        if not progress:
            return
        if len(self._curve) > CURVE_POINTS:
            self._curve = self._curve[::2] if len(self._curve) % 2 else self._curve[1::2]
        newest = self._curve[-1]
        left = "" if newest.seconds_left is None else f"  \nabout {spoken(newest.seconds_left)} left"
        self._sentence.content = f"**{newest.stage}** · step {newest.step:,} of {newest.steps:,}{left}"
        self._bar.value = 100.0 * newest.step / max(newest.steps, 1)
        self._draw_curves(tuple(newest.losses))

    def finish(self, sentence: str) -> None:
        """Says that it is over; the last curves stay."""
        self._sentence.content = sentence
        self._bar.value, self._bar.animated = 100.0, False

    def _draw_curves(self, names: tuple[str, ...]) -> None:
        """One curve per loss, on a logarithmic axis where all values are positive."""
        points = [told for told in self._curve if tuple(told.losses) == names]
        if not names or len(points) < 2:
            return
        values = np.array([[told.losses[name] for name in names] for told in points])
        data = (np.array([told.step for told in points], float), *values.T.copy())
        scales = {"x": {"time": False}, "y": {"distr": 3 if (values > 0).all() else 1}}
        if self._plot is not None and names == self._plotted:
            self._plot.data, self._plot.scales = data, scales
            return
        if self._plot is not None:
            self._plot.remove()
        curves = [
            Series(label=name, stroke=CURVE_COLORS[i % len(CURVE_COLORS)], width=1.5) for i, name in enumerate(names)
        ]
        with self._folder:
            self._plot = self._server.gui.add_uplot(data, (Series(label="step"), *curves), scales=scales, height=180)
        self._plotted = names
