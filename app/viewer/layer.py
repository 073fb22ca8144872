"""A layer of the page: nodes of the 3-D scene that are drawn together."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import viser
from jaxtyping import Float

from app.viewer.section import Triangles

Color = Sequence[float]
Vector = Float[np.ndarray, "3"]
ORIGIN = np.zeros(3)


class Layer(ABC):
    """Draws nodes by name. Drawing again replaces a node of the same name and removes those that are drawn no more.

    The browser's events come on threads of viser's own and new content on the caller's: `lock` guards all nodes.
    """

    def __init__(self, server: viser.ViserServer):
        self.server = server
        self.lock = threading.RLock()
        self.meshes: dict[str, viser.MeshHandle] = {}
        self.lines: dict[str, viser.LineSegmentsHandle] = {}
        self._request = object()

    def redraw(self) -> None:
        """Draws everything again; of the requests that wait for the lock only the newest is served."""
        request = self._request = object()
        with self.lock:
            if request is not self._request:
                return
            former: dict[str, viser.SceneNodeHandle] = {**self.meshes, **self.lines}
            self.meshes, self.lines = {}, {}
            with self.server.atomic():
                self.draw()
                for name in former.keys() - self.meshes.keys() - self.lines.keys():
                    former[name].remove()
                self.restyle()

    @abstractmethod
    def draw(self) -> None:
        """Adds every node that is to be seen, with `add_mesh` and `add_lines`."""

    @abstractmethod
    def restyle(self) -> None:
        """Sets the nodes' visibility and opacity without sending their geometry again."""

    def add_mesh(self, name: str, mesh: Triangles, color: Color, position: Vector = ORIGIN) -> None:
        """Adds a mesh of one sRGB colour; nothing where it has no faces."""
        if len(mesh.faces):
            self.meshes[name] = self.server.scene.add_mesh_simple(
                name, mesh.vertices, mesh.faces, color=_rgb(color), side="double", position=position
            )

    def add_lines(
        self,
        name: str,
        segments: Float[np.ndarray, "n 2 3"],
        color: Color,
        pixels: float,
        position: Vector = ORIGIN,
    ) -> None:
        """Adds line segments that are `pixels` wide on the screen; nothing where there are none."""
        if len(segments):
            self.lines[name] = self.server.scene.add_line_segments(
                name, segments, _rgb(color), thickness=pixels, thickness_units="screen", position=position
            )


def _rgb(color: Color) -> tuple[int, int, int]:
    r, g, b = (round(255 * min(max(c, 0.0), 1.0)) for c in color)
    return r, g, b
