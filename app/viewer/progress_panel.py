"""The folder "Progress" of the live page: the stage, a bar, the remaining time, the loss curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import viser
from viser.uplot import Scale, Series

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
        self._curves: list[Progress] = []

    def show(self, progress: Sequence[Progress]) -> None:
        """Takes in what was told since the last call, oldest first."""
        for told in progress:
            if self._curves and (told.stage, told.losses.keys()) != (
                self._curves[0].stage,
                self._curves[0].losses.keys(),
            ):
                self._clear()
            self._curves.append(told)
        if not progress:
            return
        if len(self._curves) > CURVE_POINTS:
            self._curves = self._curves[::2]
        newest = progress[-1]
        left = "" if newest.seconds_left is None else f"  \nabout {spoken(newest.seconds_left)} left"
        self._sentence.content = f"**{newest.stage}** · step {newest.step:,} of {newest.steps:,}{left}"
        self._bar.value = 100.0 * newest.step / max(newest.steps, 1)
        self._draw_curves(list(newest.losses))

    def finish(self, sentence: str) -> None:
        """Says that it is over; the last curves stay."""
        self._sentence.content = sentence
        self._bar.value, self._bar.animated = 100.0, False

    def _clear(self) -> None:
        self._curves.clear()
        if self._plot is not None:
            self._plot.remove()
            self._plot = None

    def _draw_curves(self, names: list[str]) -> None:
        if not names:
            return
        values = np.array([[told.losses[name] for name in names] for told in self._curves])
        data = (np.array([told.step for told in self._curves], float), *values.T.copy())
        if self._plot is None:
            self._plot = self._new_plot(data, names, logarithmic=bool((values > 0).all()))
        else:
            self._plot.data = data

    def _new_plot(self, data: tuple[np.ndarray, ...], names: Sequence[str], logarithmic: bool) -> viser.GuiUplotHandle:
        """A chart over the whole stage. viser follows growing data on an automatic x axis only where the chart was
        drawn between any two updates; a fixed one has no such condition."""
        steps = Scale(time=False, range=(0.0, float(self._curves[0].steps)))
        colors = [CURVE_COLORS[i % len(CURVE_COLORS)] for i in range(len(names))]
        curves = [Series(label=name, stroke=color, width=1.5) for name, color in zip(names, colors, strict=True)]
        with self._folder:
            return self._server.gui.add_uplot(
                data,
                (Series(label="step"), *curves),
                scales={"x": steps, "y": Scale(distr=3 if logarithmic else 1)},
                height=180,
            )
