"""Which splats to keep, tried on the page: the folder "Clean" with a box to drag, three sliders and undo.

Nothing is written here: the page says the command that writes what is seen.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import viser
from jaxtyping import Float

from app.viewer.controls import slider_range
from recon.gaussians.cleaning import SplatCleaning, kept
from recon.gaussians.model import Gaussians

if TYPE_CHECKING:
    from app.viewer.page import Page

ROOM = 0.5  # how far the sliders of the box go beyond the page's bounds, in parts of these
ONE_CHANGE = 0.8  # seconds: what a slider says in quick succession is undone at once
ROUNDING = 1e-4
BOX_COLOR = (217, 89, 26)
LARGEST_SHARE = 0.999  # of the splats are smaller than where the slider of sizes ends

Span = tuple[float, float]


class Setting(NamedTuple):
    """What the sliders say: the box in the user's coordinates, least opacity, greatest size, least share of a piece."""

    box: tuple[Span, Span, Span]
    opacity: float
    size: float
    floaters: float


class CleaningPanel:
    """The folder. `gaussians` are in the page's frame; `path` is the run or the file that they were read from."""

    def __init__(self, page: Page, gaussians: Gaussians, bounds: Float[np.ndarray, "2 3"], path: Path):
        self._page, self._gaussians, self._path = page, gaussians, path
        self._history: list[Setting] = []
        self._changed: tuple[object, float] = (None, 0.0)
        self._setting_all, self._request = False, object()
        centers = page.frame.to_user(gaussians.means)
        room = ROUNDING * np.ptp(centers, axis=0)  # numbers in a command are rounded
        self._all = np.stack([centers.min(0) - room, centers.max(0) + room])
        unit = "" if page.frame.unit == "unknown" else f" ({page.frame.unit})"
        gui = page.server.gui
        with gui.add_folder("Clean", order=1.7, expand_by_default=False):
            self.box = [
                self._box_slider(axis + unit, *span) for axis, span in zip("xyz", self._spans(bounds), strict=True)
            ]
            self.gizmo = gui.add_checkbox("Move the box", False, hint="Shows the box with arrows to drag")
            self.opacity = gui.add_slider("Opacity from", 0.0, 0.5, 0.01, 0.0)
            largest = float(np.quantile(gaussians.scales.max(axis=1), LARGEST_SHARE)) * page.frame.scale
            _, most, step, _ = slider_range(0.0, largest)
            self.size = gui.add_slider(f"Size to{unit}", step, most, step, most)
            self.floaters = gui.add_slider("Floaters", 0.0, 0.1, 0.002, 0.0, hint="Drop pieces smaller than that share")
            undo, over = gui.add_button("Undo"), gui.add_button("Keep all")
            self.said = gui.add_markdown("")
        self._start = self._last = self.setting()
        for control in (*self.box, self.opacity, self.size, self.floaters):
            control.on_update(lambda _, control=control: self._choose(control))
        self.gizmo.on_update(lambda _: self._show_box())
        undo.on_click(lambda _: self.undo())
        over.on_click(lambda _: self._go_to(self._start))
        self._say(len(gaussians))

    def setting(self) -> Setting:
        """What the sliders say now."""
        x, y, z = ((float(slider.value[0]), float(slider.value[1])) for slider in self.box)
        return Setting((x, y, z), self.opacity.value, self.size.value, self.floaters.value)

    def cleaning(self) -> SplatCleaning:
        """The same as options; a slider at its end asks for nothing."""
        now = self.setting()
        crop = None
        if now.box != self._start.box:
            ends = [
                [whole[side] if span[side] == start[side] else span[side] for side in (0, 1)]
                for span, start, whole in zip(now.box, self._start.box, self._all.T, strict=True)
            ]
            crop = ",".join(f"{ends[axis][side]:.8g}" for side in (0, 1) for axis in range(3))
        return SplatCleaning(
            crop=crop,
            min_opacity=now.opacity,
            max_size=None if now.size == self._start.size else now.size,
            drop_floaters=now.floaters,
        )

    def command(self) -> str:
        """The command that writes the splats that are seen."""
        cleaning = self.cleaning()
        flags = [
            f"--{name.replace('_', '-')}={value:g}" if isinstance(value, float) else f"--{name}={value}"
            for name in cleaning.__struct_fields__
            if (value := getattr(cleaning, name))
        ]
        if self._path.is_dir() and (self._path / "scene").is_dir():
            start = ["relief", "export", str(self._path), "--to", "splats-ply"]
        else:
            start = ["relief", "convert", str(self._path), f"{self._path.stem}-clean.ply"]
        return " \\\n  ".join([shlex.join(start), *map(shlex.quote, flags)])

    def undo(self) -> None:
        """Goes back by one change."""
        if self._history:
            self._set(self._history.pop())

    def _choose(self, control: object) -> None:
        """Takes a change of a slider over."""
        if self._setting_all:
            return
        now = time.monotonic()
        before, at = self._changed
        if control is not before or now - at > ONE_CHANGE:
            self._history.append(self._last)
        self._changed, self._last = (control, now), self.setting()
        self._apply()

    def _go_to(self, setting: Setting) -> None:
        self._history.append(self.setting())
        self._set(setting)

    def _set(self, setting: Setting) -> None:
        self._setting_all = True  # assigning a value calls the slider's callback
        for slider, span in zip(self.box, setting.box, strict=True):
            slider.value = span
        self.opacity.value, self.size.value, self.floaters.value = setting.opacity, setting.size, setting.floaters
        self._setting_all = False
        self._changed, self._last = (None, 0.0), setting
        self._apply()
        self._show_box()

    def _apply(self) -> None:
        """Shows what the sliders keep; of the requests that wait only the newest is served."""
        request = self._request = object()
        with self._page.splats.lock:
            if request is not self._request:
                return
            keep = kept(self._gaussians, self.cleaning(), self._page.frame)
            self._page.splats.keep(keep)
        self._page.stills.renew()
        self._draw_box()
        self._say(int(keep.sum()))

    def _say(self, count: int) -> None:
        self.said.content = f"{count:,} of {len(self._gaussians):,} splats are kept.\n\n```\n{self.command()}\n```"

    def _show_box(self) -> None:
        """The box as lines, with arrows in its middle that move it."""
        self._page.server.scene.remove_by_name("/crop")
        if self.gizmo.value:
            middle = self._corners().mean(0)
            arrows = self._page.server.scene.add_transform_controls(
                "/crop", scale=0.35, disable_rotations=True, disable_sliders=True, depth_test=False, position=middle
            )
            arrows.on_drag_end(lambda event: self._move_box(np.asarray(event.target.position)))
            self._draw_box()

    def _draw_box(self) -> None:
        if self.gizmo.value:
            low, high = self._corners()
            unit = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
            pairs = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(unit[a] - unit[b]).sum() == 1]
            edges = (low + unit * (high - low))[np.array(pairs)]
            self._page.server.scene.add_line_segments(
                "/crop_box", edges, BOX_COLOR, thickness=2.0, thickness_units="screen"
            )
        else:
            self._page.server.scene.remove_by_name("/crop_box")

    def _move_box(self, middle: Float[np.ndarray, "3"]) -> None:
        """Moves the box so that its middle is there, as far as the sliders go."""
        shift = (middle - self._corners().mean(0)) * self._page.frame.scale
        moved = []
        for (low, high), (least, most), wanted in zip(self.setting().box, self._start.box, shift, strict=True):
            by = float(np.clip(wanted, least - low, most - high))
            moved.append((low + by, high + by))
        x, y, z = moved
        self._go_to(self.setting()._replace(box=(x, y, z)))

    def _corners(self) -> Float[np.ndarray, "2 3"]:
        """The lowest and highest corner of the box in the page's frame."""
        return self._page.frame.from_user(np.array(self.setting().box).T)

    def _spans(self, bounds: Float[np.ndarray, "2 3"]) -> list[Span]:
        """How far the sliders go: beyond the page's bounds, but not beyond all splats."""
        room = ROOM * (bounds[1] - bounds[0])
        low, high = np.maximum(bounds[0] - room, self._all[0]), np.minimum(bounds[1] + room, self._all[1])
        return [(float(a), float(b)) for a, b in zip(low, np.maximum(high, low), strict=True)]

    def _box_slider(self, label: str, low: float, high: float) -> viser.GuiMultiSliderHandle:
        least, most, step, _ = slider_range(low, high)
        return self._page.server.gui.add_multi_slider(f"Crop {label}", least, most, step, (least, most))
