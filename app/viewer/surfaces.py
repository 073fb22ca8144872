"""The surfaces of a scene on the page, whole or cut by the section plane.

The browser is sent a preview of at most `PREVIEW_FACES` faces; the section's outline and its filling come from the full
mesh. All coordinates here are the page's own: those of a `recon.scene.Frame` in which the content is centred and its
longest side is [-1, 1]. Millimetres, or metres of a national grid, lose nothing there to the browser's float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import viser
from jaxtyping import Float

from app.viewer.layer import Color, Layer
from app.viewer.section import SectionPlane, Triangles, outline, part_below, section_filling, without_unused
from recon.formats import glb
from recon.inputs import distinct_color
from recon.scene import Frame, Scene
from recon.surface.boundary import boundary_of
from render.meshes import own_colors

if TYPE_CHECKING:
    import trimesh

    from app.viewer.controls import LabelControls, SectionControls

PREVIEW_FACES = 300_000
PLAIN_COLOR = (0.74, 0.72, 0.68)
LAYER = 2e-4  # the fillings of overlapping labels are drawn this far apart, the smaller one in front
OUTLINE_PIXELS = 2.0
NOTHING = Triangles(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
BOUNDARY_COLOR, BOUNDARY_PIXELS = (0.85, 0.10, 0.35), 3.0


class Paint(NamedTuple):
    """What a mesh has on it of its own: sRGB bytes of its vertices (n, 3), or with an `image` (of PIL's) their places
    on that, (n, 2), the second counted upward."""

    values: Float[np.ndarray, "n _"]
    image: Any = None


@dataclass(frozen=True)
class Surface:
    """A named surface with its sRGB colour: the full mesh, what the browser is sent of it, the `paint` on that (None
    where the mesh has none of its own), and the segments at which the full mesh ends."""

    name: str
    color: Color
    full: Triangles
    preview: Triangles
    paint: Paint | None
    boundary: Float[np.ndarray, "s 2 3"]


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
        preview, paint = simplified(full, share), None
        if "uv" in mesh.face_attributes:
            preview, paint = _textured(mesh, full, preview)
        elif name not in colors and own_colors(mesh)[0] == "vertex":
            paint = Paint(_of_nearest(own_colors(mesh)[1], full, preview))
        surfaces.append(Surface(name, color, full, preview, paint, frame.from_user(_boundary(mesh, scene))))
    return surfaces


def _textured(mesh: trimesh.Trimesh, full: Triangles, preview: Triangles) -> tuple[Triangles, Paint]:
    """The preview with the mesh's texture: where that is the full mesh, its vertices doubled at the seams; a simpler
    one has the texture's colours at its vertices."""
    image: Any = mesh.visual.material.baseColorTexture  # type: ignore[union-attr]
    corners = np.column_stack([full.faces.ravel(), mesh.face_attributes["uv"].reshape(-1, 2)])
    unlike, faces = np.unique(corners, axis=0, return_inverse=True)
    vertex, uv = unlike[:, 0].astype(np.int64), unlike[:, 1:]
    if preview is full:
        return Triangles(full.vertices[vertex], faces.reshape(-1, 3)), Paint(uv, image)
    column, row = (uv * (1, -1) % 1 * image.size).astype(np.int64).T
    colors = np.zeros((len(full.vertices), 3), np.uint8)
    colors[vertex] = np.asarray(image.convert("RGB"))[row, column]
    return preview, Paint(_of_nearest(colors, full, preview))


def _of_nearest(values: np.ndarray, full: Triangles, preview: Triangles) -> np.ndarray:
    """The values at the vertices of a mesh for those of its preview: at each that of the nearest."""
    if preview is full:
        return values
    from scipy.spatial import KDTree

    return values[KDTree(full.vertices).query(preview.vertices)[1]]


def _boundary(mesh: trimesh.Trimesh, scene: Scene) -> Float[np.ndarray, "s 2 3"]:
    """The mesh's boundary in the user's coordinates."""
    return scene.frame.to_user(boundary_of(mesh).segments)


def simplified(mesh: Triangles, share: float) -> Triangles:
    """The mesh with `share` of its faces, by quadric edge collapse (Garland & Heckbert 1997); itself from 1 on."""
    if share >= 1.0:
        return mesh
    import fast_simplification

    vertices, faces = mesh.vertices, mesh.faces.astype(np.int32)
    collapsed = fast_simplification.simplify(vertices, faces, target_count=max(int(share * len(faces)), 4))
    return without_unused(Triangles(np.asarray(collapsed[0], np.float64), np.asarray(collapsed[1], np.int64)))


class SurfaceLayer(Layer):
    """The surfaces as the label and section controls want them, with their boundaries and colours of their own where
    they have any."""

    def __init__(self, server: viser.ViserServer, section: SectionControls, labels: LabelControls):
        super().__init__(server)
        self._section, self._labels = section, labels
        self._surfaces: Sequence[Surface] = ()
        self._touchable: dict[str, Triangles] = {}
        self.boundaries = server.gui.add_checkbox("Boundary loops", True, order=1.4, visible=False)
        self.own_colors = server.gui.add_checkbox("Own colours", True, order=1.5, visible=False)
        self.boundaries.on_update(lambda _: self.restyle())
        self.own_colors.on_update(lambda _: self.redraw())

    def show(self, surfaces: Sequence[Surface], labels: LabelControls) -> None:
        """Replaces what is shown."""
        with self.lock:
            self._surfaces, self._labels = surfaces, labels
            self.boundaries.visible = any(len(surface.boundary) for surface in surfaces)
            self.own_colors.visible = any(surface.paint is not None for surface in surfaces)
            self.redraw()

    def draw(self) -> None:
        plane = self._section.plane()
        self._touchable = {}
        for rank, surface in enumerate(sorted(self._surfaces, key=_box_volume, reverse=True)):
            name = f"/surfaces/{self._surfaces.index(surface)}"
            boundary = surface.boundary
            if plane is None:
                self._draw_shell(name, surface.preview, surface.paint, surface.color)
            else:
                self._draw_cut(name, surface, plane, LAYER * (1 + rank))
                boundary = boundary[plane.height(boundary).max(1) < 0]
            self.add_lines(f"{name}/boundary", boundary, BOUNDARY_COLOR, BOUNDARY_PIXELS)

    def _draw_shell(self, name: str, shell: Triangles, paint: Paint | None, plain: Color) -> None:
        self._touchable[f"{name}/shell"] = shell
        if paint is None or not self.own_colors.value:
            self.add_mesh(f"{name}/shell", shell, plain)
        elif paint.image is None:
            self.add_colored_mesh(f"{name}/shell", shell, paint.values)
        elif len(shell.faces):
            self.colored[f"{name}/shell"] = self.server.scene.add_glb(f"{name}/shell", _textured_glb(shell, paint))

    def _draw_cut(self, name: str, surface: Surface, plane: SectionPlane, lift: float) -> None:
        shell, paint = _painted_part_below(surface, plane)
        self._draw_shell(name, shell, paint, surface.color)
        curve = outline(surface.full, plane.height(surface.full.vertices))
        filling = NOTHING if len(surface.boundary) else section_filling(curve, plane)
        self._touchable[f"{name}/filling"] = Triangles(filling.vertices + plane.lift(lift), filling.faces)
        self.add_mesh(f"{name}/filling", filling, surface.color, plane.lift(lift))
        dark = [0.45 * channel for channel in surface.color]
        self.add_lines(f"{name}/outline", curve.points[curve.segments], dark, OUTLINE_PIXELS, plane.lift(2 * lift))

    def restyle(self) -> None:
        with self.lock:
            for path, node in self.nodes.items():
                shown = self.boundaries.value or not path.endswith("boundary")
                node.visible = shown and self._labels.visible(self._label_of(path))
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
            return [mesh for path, mesh in self._touchable.items() if self._labels.visible(self._label_of(path))]


def _painted_part_below(surface: Surface, plane: SectionPlane) -> tuple[Triangles, Paint | None]:
    """What the plane keeps of the preview, and the paint on that: cut edges interpolate it."""
    height = plane.height(surface.preview.vertices)
    if surface.paint is None:
        return part_below(surface.preview, height), None
    values, image = surface.paint
    kept = part_below(Triangles(np.column_stack([surface.preview.vertices, values]), surface.preview.faces), height)
    of_kept = kept.vertices[:, 3:]
    paint = Paint(np.rint(of_kept).astype(np.uint8) if image is None else of_kept, image)
    return Triangles(kept.vertices[:, :3], kept.faces), paint


def _textured_glb(shell: Triangles, paint: Paint) -> bytes:
    """The shell with its texture, as viser takes it."""
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    visual = TextureVisuals(uv=paint.values, material=PBRMaterial(baseColorTexture=paint.image))
    shown = trimesh.Trimesh(shell.vertices, shell.faces, visual=visual, process=False)
    return glb.encoded(Scene(mesh=shown, frame=Frame(up=(0.0, 1.0, 0.0))))  # Y-up: nothing is turned


def _box_volume(surface: Surface) -> float:
    return float(np.prod(np.ptp(surface.full.vertices, axis=0))) if len(surface.full.vertices) else 0.0
