"""What the viewer is asked to show: a run folder, a mesh file, or an input of slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from app.runs import input_again, read_record
from recon.errors import UserError
from recon.formats import ReadOptions, read
from recon.formats.meshes import MESH_FORMATS, read_scene
from recon.formats.scene_folder import read_scene_folder
from recon.inputs import CrossSections
from recon.scene import Scene

if TYPE_CHECKING:
    import trimesh


DEFAULTS = ReadOptions()


@dataclass(frozen=True)
class Content:
    """A scene, the slices that it was made from where they are known, and sentences about what cannot be shown."""

    name: str
    scene: Scene
    sections: CrossSections | None = None
    notes: tuple[str, ...] = ()

    @property
    def meshes(self) -> list[trimesh.Trimesh]:
        """The meshes that are shown: the objects, or the whole where there are none."""
        return list(self.scene.objects.values()) or ([] if self.scene.mesh is None else [self.scene.mesh])

    @property
    def unit(self) -> str:
        """The user's unit of length, from the scene or else from the slices."""
        known = self.scene.frame.unit
        return self.sections.unit if known == "unknown" and self.sections is not None else known

    @property
    def up(self) -> tuple[float, float, float]:
        """The user's upward direction, from the scene where there is a mesh."""
        return self.scene.frame.up if self.meshes or self.sections is None else self.sections.up

    def bounds(self) -> Float[np.ndarray, "2 3"]:
        """The lowest and highest user coordinates.

        Raises:
            UserError: there is nothing to show.
        """
        corners = [self.scene.frame.to_user(np.asarray(mesh.vertices)) for mesh in self.meshes]
        corners += [] if self.sections is None else list(_contour_points(self.sections))
        points = np.concatenate([np.zeros((0, 3)), *corners])
        if not len(points):
            raise UserError(f"{self.name}: there is nothing to show in it, neither a mesh nor a contour")
        return np.stack([points.min(0), points.max(0)])


def _contour_points(sections: CrossSections) -> Iterator[Float[np.ndarray, "_ 3"]]:
    for plane in sections.planes:
        for polygon in (*(ring.vertices for ring in plane.rings), *plane.lines):
            yield plane.to_world(polygon)


def load(path: Path, options: ReadOptions = DEFAULTS) -> Content:
    """Reads what stands at the path; `options` are for an input of slices.

    Raises:
        UserError: nothing stands there, it is of no known kind, or what is in it cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if path.is_dir() and ((path / "run.json").exists() or (path / "scene").is_dir()):
        return _load_run(path)
    if any(path.suffix.lower() in row.suffixes for row in MESH_FORMATS):
        return Content(path.name, _welded(read_scene(path)))
    sections = read(path, options)
    return Content(path.name, Scene(), sections, sections.notes)


def _welded(scene: Scene) -> Scene:
    """The scene with vertices at one place made one: seams of a texture split them, and would open every section."""
    for mesh in (*scene.objects.values(), *([] if scene.mesh is None else [scene.mesh])):
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
    return scene


def _load_run(folder: Path) -> Content:
    """The scene of a run, and its input's slices where the input is still there."""
    if not (folder / "scene").is_dir():
        status = read_record(folder).status
        raise UserError(f"{folder}: the run has no scene to show yet (its status is {status}); run the command again")
    scene = read_scene_folder(folder / "scene")
    try:
        sections = input_again(folder)
    except UserError as problem:
        return Content(folder.name, scene, notes=(f"the input's slices are not shown: {problem}",))
    notes = () if sections is not None else ("the input is gone or has changed; its slices are not shown",)
    return Content(folder.name, scene, sections, notes)
