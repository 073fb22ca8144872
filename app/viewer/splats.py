"""Gaussian splats on the page.

The browser draws them sorted, in the colour that they have on average over all directions. It is sent at most
`MOST_SHOWN`, those that cover and hide the most; `app.viewer.stills` draws all of them, in the colours of the very
direction, when the camera rests.
"""

from __future__ import annotations

import numpy as np
import viser
from jaxtyping import Bool, Float32

from app.viewer.controls import SectionControls
from app.viewer.layer import Layer
from recon.gaussians.harmonics import DC
from recon.gaussians.model import Gaussians
from recon.rotations import rotation_matrices
from recon.scene import Frame, Scene

MOST_SHOWN = 500_000
MOST_LIVE = 100_000  # while they are trained
UNITS = 10.0  # viser's units a unit of the page: it holds covariances in float16, which has no variance below 6e-8
LARGEST_VARIANCE = 6e4  # of float16
TOUCHABLE = 0.3  # opacity of what a click can meet


class SplatLayer(Layer):
    """The splats, with the folder "Splats" once there are any. The section plane takes away those beyond it."""

    def __init__(self, server: viser.ViserServer, section: SectionControls):
        super().__init__(server)
        self._section = section
        self._whole: Gaussians | None = None
        self._kept: Bool[np.ndarray, " n"] | None = None
        self._most = MOST_SHOWN
        self._resting = False
        with server.gui.add_folder("Splats", order=1.6, visible=False) as self._folder:
            self.visible = server.gui.add_checkbox("Show", True)
            self.at_rest = server.gui.add_checkbox(
                "Exact at rest", False, hint="When the view rests: all splats, in the colours of its direction"
            )
            self._said = server.gui.add_markdown("")
        self.visible.on_update(lambda _: self.restyle())

    def show(self, gaussians: Gaussians | None, most: int = MOST_SHOWN) -> None:
        """Replaces what is shown, given in the page's frame; of more than `most` those that cover and hide the most."""
        with self.lock:
            self._whole, self._kept, self._most = gaussians, None, most
            self._folder.visible = gaussians is not None
            if gaussians is not None and len(gaussians) > most == MOST_SHOWN:
                self.at_rest.value = True
            self.redraw()

    def keep(self, kept: Bool[np.ndarray, " n"]) -> None:
        """Shows only these of the splats."""
        with self.lock:
            self._kept = kept
            self.redraw()

    @property
    def drawn(self) -> Gaussians | None:
        """Those that are kept and on this side of the section plane, all of them; None where none is shown."""
        with self.lock:
            if self._whole is None or not self.visible.value:
                return None
            plane, kept = self._section.plane(), self._kept
            if plane is not None:
                below = plane.height(self._whole.means) < 0
                kept = below if kept is None else kept & below
            return self._whole if kept is None else self._whole.subset(kept)

    def rest(self, resting: bool) -> None:
        """Hides the browser's splats, because a picture of them stands in their place, or shows them again."""
        self._resting = resting
        self.restyle()

    def touchable_points(self) -> Float32[np.ndarray, "n 3"]:
        """The centres that a click can meet."""
        drawn = self.drawn
        return np.zeros((0, 3), np.float32) if drawn is None else drawn.means[drawn.opacities > TOUCHABLE]

    def draw(self) -> None:
        drawn = self.drawn
        if drawn is None or not len(drawn):
            return
        shown = most_important(drawn, self._most)
        few = f", {len(shown):,} of them shown, the largest and most opaque" if len(shown) < len(drawn) else ""
        self._said.content = f"{len(drawn):,} splats{few}"
        colors = np.clip(0.5 + DC * shown.sh[:, 0], 0, 1)
        self.splats["/splats"] = self.server.scene.add_gaussian_splats(
            "/splats",
            centers=UNITS * shown.means,
            covariances=np.clip(UNITS**2 * covariances(shown), -LARGEST_VARIANCE, LARGEST_VARIANCE),
            rgbs=colors,
            opacities=shown.opacities[:, None],
            scale=1 / UNITS,
        )

    def restyle(self) -> None:
        with self.lock:
            for node in self.splats.values():
                node.visible = self.visible.value and not self._resting


def page_gaussians(scene: Scene, frame: Frame) -> Gaussians | None:
    """The scene's Gaussians in the page's frame, which is not turned against the user's coordinates."""
    if scene.gaussians is None or not len(scene.gaussians):
        return None
    scale, rotation, translation = scene.frame.scale, scene.frame.rotation, scene.frame.translation
    return scene.gaussians.transformed(scale / frame.scale, rotation, (translation - frame.translation) / frame.scale)


def most_important(gaussians: Gaussians, most: int) -> Gaussians:
    """At most so many: those with the greatest product of area and opacity."""
    if len(gaussians) <= most:
        return gaussians
    middle, large = np.sort(gaussians.log_scales, axis=1)[:, 1:].T
    weight = middle + large + np.log(gaussians.opacities + 1e-12)
    return gaussians.subset(np.sort(np.argpartition(-weight, most)[:most]))


def covariances(gaussians: Gaussians) -> Float32[np.ndarray, "n 3 3"]:
    """R S S R^T with the rotations R and the scales S."""
    axes = rotation_matrices(gaussians.quaternions) * gaussians.scales[:, None]
    return np.einsum("nik,njk->nij", axes, axes)
