"""The surfaces of a scene on the page, whole or cut by the section plane.

The browser is sent a preview of at most `PREVIEW_FACES` faces; the section's outline and its filling come from the full
mesh. All coordinates here are the page's own: those of a `recon.scene.Frame` in which the content is centred and its
longest side is [-1, 1]. Millimetres, or metres of a national grid, lose nothing there to the browser's float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import viser
from jaxtyping import Float

from app.viewer.layer import Layer
from app.viewer.section import Outline, Triangles, closed_loops, outline, part_below, without_unused
from recon.inputs import distinct_color
from recon.regions import even_odd_region, triangulated
from recon.scene import Frame, Scene

if TYPE_CHECKING:
    from app.viewer.controls import LabelControls, SectionControls

PREVIEW_FACES = 300_000
PLAIN_COLOR = (0.74, 0.72, 0.68)
LAYER = 2e-4  # the fillings of overlapping labels are drawn this far apart, the smaller one in front
OUTLINE_PIXELS = 2.0

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Surface:
    """A named surface with its sRGB colour: the full mesh, and what the browser is sent of it."""

    name: str
    color: Color
    full: Triangles
    preview: Triangles


@dataclass(frozen=True)
class SectionPlane:
    """The plane where coordinate `axis` equals `position`; what lies below it is kept, or what lies above."""

    axis: int
    position: float
    keeps_above: bool = False

    def height(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        """Heights of points over the plane, negative on the side that is kept."""
        height = points[..., self.axis] - self.position
        return -height if self.keeps_above else height

    def lift(self, distance: float) -> Float[np.ndarray, "3"]:
        """The vector of that length toward the side that is cut away."""
        return np.eye(3)[self.axis] * (-distance if self.keeps_above else distance)


def surfaces_of(scene: Scene, frame: Frame, limit: int = PREVIEW_FACES) -> list[Surface]:
    """A surface per label, or the whole mesh where there are none; together at most about `limit` preview faces."""
    meshes = scene.objects
    if not meshes and scene.mesh is not None:
        meshes = {scene.labels[0].name if len(scene.labels) == 1 else "surface": scene.mesh}
    colors = {label.name: label.color for label in scene.labels}
    share = limit / max(sum(len(mesh.faces) for mesh in meshes.values()), 1)
    surfaces = []
    for index, (name, mesh) in enumerate(meshes.items()):
        vertices = frame.from_user(scene.frame.to_user(np.asarray(mesh.vertices)))
        full = Triangles(vertices, np.asarray(mesh.faces, np.int64))
        color = colors.get(name) or (PLAIN_COLOR if len(meshes) == 1 else distinct_color(index))
        surfaces.append(Surface(name, color, full, simplified(full, share)))
    return surfaces


def simplified(mesh: Triangles, share: float) -> Triangles:
    """The mesh with `share` of its faces, by quadric edge collapse (Garland & Heckbert 1997); itself from 1 on."""
    if share >= 1.0:
        return mesh
    import fast_simplification

    vertices, faces = mesh.vertices, mesh.faces.astype(np.int32)
    collapsed = fast_simplification.simplify(vertices, faces, target_count=max(int(share * len(faces)), 4))
    return without_unused(Triangles(np.asarray(collapsed[0], np.float64), np.asarray(collapsed[1], np.int64)))


def section_filling(curve: Outline, plane: SectionPlane) -> Triangles:
    """The region that the closed loops of a section's outline bound by the even-odd rule."""
    u, v = (plane.axis + 1) % 3, (plane.axis + 2) % 3
    loops = [curve.points[loop][:, [u, v]] for loop in closed_loops(curve.segments)]
    flat, faces = triangulated(even_odd_region(loops))
    vertices = np.full((len(flat), 3), plane.position)
    vertices[:, [u, v]] = flat
    return Triangles(vertices, faces)


class SurfaceLayer(Layer):
    """The surfaces as the label and section controls want them."""

    def __init__(self, server: viser.ViserServer, section: SectionControls, labels: LabelControls):
        super().__init__(server)
        self._section, self._labels = section, labels
        self._surfaces: Sequence[Surface] = ()

    def show(self, surfaces: Sequence[Surface], labels: LabelControls) -> None:
        """Replaces what is shown."""
        with self.lock:
            self._surfaces, self._labels = surfaces, labels
            self.redraw()

    def draw(self) -> None:
        plane = self._section.plane()
        for rank, surface in enumerate(sorted(self._surfaces, key=_box_volume, reverse=True)):
            name = f"/surfaces/{self._surfaces.index(surface)}"
            if plane is None:
                self.add_mesh(f"{name}/shell", surface.preview, surface.color)
            else:
                self._draw_cut(name, surface, plane, LAYER * (1 + rank))

    def _draw_cut(self, name: str, surface: Surface, plane: SectionPlane, lift: float) -> None:
        shell = part_below(surface.preview, plane.height(surface.preview.vertices))
        self.add_mesh(f"{name}/shell", shell, surface.color)
        curve = outline(surface.full, plane.height(surface.full.vertices))
        self.add_mesh(f"{name}/filling", section_filling(curve, plane), surface.color, plane.lift(lift))
        dark = [0.45 * channel for channel in surface.color]
        self.add_lines(f"{name}/outline", curve.points[curve.segments], dark, OUTLINE_PIXELS, plane.lift(2 * lift))

    def restyle(self) -> None:
        with self.lock:
            for path, node in (self.meshes | self.lines).items():
                node.visible = self._labels.visible(self._label_of(path))
            for path, mesh in self.meshes.items():
                if path.endswith("shell"):
                    mesh.opacity = self._labels.opacity(self._label_of(path))
                    # the far wall of a transparent shell would shine through in patches
                    mesh.side = "double" if mesh.opacity is None else "front"

    def _label_of(self, path: str) -> str:
        return self._surfaces[int(path.split("/")[2])].name

    def visible_triangles(self) -> list[Triangles]:
        """What a click can meet: shells and fillings as they are drawn now, of the labels that are shown."""
        with self.lock:
            shown = [mesh for mesh in self.meshes.values() if mesh.visible]
            return [Triangles(mesh.vertices + mesh.position, mesh.faces.astype(np.int64)) for mesh in shown]


def _box_volume(surface: Surface) -> float:
    return float(np.prod(np.ptp(surface.full.vertices, axis=0))) if len(surface.full.vertices) else 0.0
