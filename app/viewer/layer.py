"""A layer of the page: nodes of the 3-D scene that are drawn together."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import viser
from jaxtyping import Float, UInt8

from app.viewer.section import Triangles
from recon.formats import glb
from recon.scene import Frame, Scene

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
        self.colored: dict[str, viser.GlbHandle] = {}
        self.lines: dict[str, viser.LineSegmentsHandle] = {}
        self.points: dict[str, viser.PointCloudHandle] = {}
        self.splats: dict[str, viser.GaussianSplatHandle] = {}
        self.frusta: dict[str, viser.CameraFrustumHandle] = {}
        self._request = object()

    def redraw(self) -> None:
        """Draws everything again; of the requests that wait for the lock only the newest is served."""
        request = self._request = object()
        with self.lock:
            if request is not self._request:
                return
            former = self.nodes
            self.meshes, self.colored, self.lines, self.points = {}, {}, {}, {}
            self.splats, self.frusta = {}, {}
            with self.server.atomic():
                self.draw()
                for name in former.keys() - self.nodes.keys():
                    former[name].remove()
                self.restyle()

    @property
    def nodes(self) -> dict[str, viser.SceneNodeHandle]:
        """All that is drawn, by name."""
        return {**self.meshes, **self.colored, **self.lines, **self.points, **self.splats, **self.frusta}

    @abstractmethod
    def draw(self) -> None:
        """Adds every node that is to be seen, with the `add_` functions."""

    @abstractmethod
    def restyle(self) -> None:
        """Sets the nodes' visibility and opacity without sending their geometry again."""

    def add_mesh(self, name: str, mesh: Triangles, color: Color, position: Vector = ORIGIN) -> None:
        """Adds a mesh of one sRGB colour; nothing where it has no faces."""
        if len(mesh.faces):
            self.meshes[name] = self.server.scene.add_mesh_simple(
                name, mesh.vertices, mesh.faces, color=_rgb(color), side="double", position=position
            )

    def add_colored_mesh(self, name: str, mesh: Triangles, colors: UInt8[np.ndarray, "n 3"]) -> None:
        """Adds a mesh with an sRGB colour at each vertex; viser takes such a mesh as GLB alone. It is always opaque."""
        import trimesh

        if len(mesh.faces):
            shown = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False)
            data = glb.encoded(Scene(mesh=shown, frame=Frame(up=(0.0, 1.0, 0.0))))  # Y-up: nothing is turned
            self.colored[name] = self.server.scene.add_glb(name, data)

    def add_points(
        self,
        name: str,
        points: Float[np.ndarray, "n 3"],
        colors: UInt8[np.ndarray, "n 3"],
        diameter: float,
        position: Vector = ORIGIN,
    ) -> None:
        """Adds points, discs of that diameter in the page's unit; nothing where there are none."""
        if len(points):
            self.points[name] = self.server.scene.add_point_cloud(
                name,
                points.astype(np.float32),
                colors,
                point_size=diameter,
                point_shape="circle",
                point_shading="flat",
                precision="float32",
                position=position,
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
