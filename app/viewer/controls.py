"""The folders "Labels" and "Section" of the page's panel. They hold settings; the layers read and draw them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import viser
from jaxtyping import Float

from app.viewer.layer import Color
from app.viewer.section import SectionPlane
from recon.scene import Frame

ALL = "all"
UNFOLDED_LABELS = 8


class LabelControls:
    """A checkbox for every label, and an opacity for all of them or one. `colors` are sRGB in [0, 1]."""

    def __init__(self, server: viser.ViserServer, colors: Mapping[str, Color], on_change: Callable[[], None]):
        self.colors = dict(colors)
        self._opacity = dict.fromkeys(colors, 1.0)
        self._checkboxes: dict[str, viser.GuiCheckboxHandle] = {}
        self._on_change, self._setting_all = on_change, False
        self._folder: viser.GuiFolderHandle | None = None
        if colors:
            self._add_folder(server.gui)

    def _add_folder(self, gui: viser.GuiApi) -> None:
        colors = self.colors
        self._folder = gui.add_folder("Labels", order=1, expand_by_default=len(colors) <= UNFOLDED_LABELS)
        with self._folder:
            self._show = gui.add_button_group("Show", ("all", "none"), visible=len(colors) > 1)
            for name, color in colors.items():
                gui.add_html(_swatch(color))
                self._checkboxes[name] = gui.add_checkbox(name, True)
            self._target = gui.add_dropdown("Opacity of", (ALL, *colors), visible=len(colors) > 1)
            self._slider = gui.add_slider("Opacity", 0.05, 1.0, 0.05, 1.0)
        for checkbox in self._checkboxes.values():
            checkbox.on_update(lambda _: None if self._setting_all else self._on_change())
        self._show.on_click(lambda _: self._show_all(self._show.value == "all"))
        self._target.on_update(lambda _: self._show_opacity())
        self._slider.on_update(lambda _: self._set_opacity())

    def visible(self, name: str) -> bool:
        """Whether the label's box is checked."""
        return self._checkboxes[name].value

    def opacity(self, name: str) -> float | None:
        """The opacity of the label's surface as viser takes it: None where it is opaque."""
        return None if self._opacity[name] >= 1.0 else self._opacity[name]

    def remove(self) -> None:
        """Takes the folder off the panel."""
        if self._folder is not None:
            self._folder.remove()

    def _show_all(self, visible: bool) -> None:
        self._setting_all = True  # assigning a value calls the checkbox's callback
        for checkbox in self._checkboxes.values():
            checkbox.value = visible
        self._setting_all = False
        self._on_change()

    def _show_opacity(self) -> None:
        if self._target.value != ALL:
            self._slider.value = self._opacity[self._target.value]

    def _set_opacity(self) -> None:
        names = self._opacity if self._target.value == ALL else [self._target.value]
        self._opacity.update(dict.fromkeys(names, self._slider.value))
        self._on_change()


class SectionControls:
    """Where the section plane lies: an axis, and a position along it in the user's coordinates.

    `bounds` (2, 3) are the lowest and highest user coordinates of the content. What lies on the side of `viewpoint`
    (3,) is cut away, so that the section is seen from there, or the other side.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        frame: Frame,
        bounds: Float[np.ndarray, "2 3"],
        viewpoint: Float[np.ndarray, "3"],
        on_change: Callable[[], None],
    ):
        self._frame, self._viewpoint, self._on_change = frame, viewpoint, on_change
        unit = "" if frame.unit == "unknown" else f" ({frame.unit})"
        with server.gui.add_folder("Section", order=2):
            self.cut = server.gui.add_checkbox("Cut", False, hint="Cut the surfaces by a plane and fill the section")
            self.axis = server.gui.add_dropdown("Across", tuple("xyz"), initial_value="z")
            self.sliders = {
                axis: server.gui.add_slider(axis + unit, *slider_range(*bounds[:, i]), visible=axis == "z")
                for i, axis in enumerate("xyz")
            }
            self.other_side = server.gui.add_checkbox("Other side", False, hint="Keep what is cut away now")
        self.axis.on_update(lambda _: self._show_slider())
        for control in (self.cut, self.other_side, *self.sliders.values()):
            control.on_update(lambda _: on_change())

    def plane(self) -> SectionPlane | None:
        """The plane in the page's coordinates; None while nothing is cut."""
        if not self.cut.value:
            return None
        axis = "xyz".index(self.axis.value)
        position = (self.sliders[self.axis.value].value - self._frame.translation[axis]) / self._frame.scale
        seen_from_above = bool(self._viewpoint[axis] >= 0)
        return SectionPlane(axis, float(position), keeps_above=seen_from_above == self.other_side.value)

    def _show_slider(self) -> None:
        for axis, slider in self.sliders.items():
            slider.visible = axis == self.axis.value
        self._on_change()


def slider_range(low: float, high: float) -> tuple[float, float, float, float]:
    """A slider's min, max, step and initial value: a round step, 200 to 2,000 of them over the extent."""
    step = 10.0 ** np.floor(np.log10(max(high - low, 1e-12) / 200))
    first, last = np.floor(low / step), np.ceil(high / step)
    low, high, middle = (float(np.round(n * step, 12)) for n in (first, max(last, first + 1), (first + last) // 2))
    return low, high, float(step), middle


def _swatch(color: Color) -> str:
    """A dot in a label's colour in front of the checkbox that follows, without a line of its own."""
    rgb = ",".join(str(round(255 * c)) for c in color)
    dot = "position:absolute;left:8.6em;top:0.3em;width:0.7em;height:0.7em;border-radius:50%"
    paint = f"background:rgb({rgb});box-shadow:0 0 0 1px rgba(128,128,128,0.5)"
    return f'<div style="height:0;position:relative"><span style="{dot};{paint}"></span></div>'
