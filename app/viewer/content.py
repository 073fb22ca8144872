"""What the viewer is asked to show: a run folder, a file of a mesh or of splats, or an input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from app.kinds import MethodInput, kind_of
from app.run_input import POSES, input_again
from app.runs import read_record
from recon.errors import UserError
from recon.formats import InputOptions, read
from recon.formats.meshes import holds_mesh, read_scene
from recon.formats.scene_folder import read_scene_folder
from recon.formats.splats import is_splats, read_splats
from recon.gaussians.model import Gaussians
from recon.inputs import Photos, Views
from recon.scene import Scene

if TYPE_CHECKING:
    import trimesh


SEEN = 0.1  # opacity
MOST, ROOM = 0.8, 0.25  # so many of the splats, and so much more on each side, bound the page


@dataclass(frozen=True)
class Content:
    """A scene, the input that it was made from where that is known, and sentences about what cannot be shown. For an
    input that nothing was made of yet, `reading` are the options that it was read with. `path` is where a scene was
    read from."""

    name: str
    scene: Scene
    input: MethodInput | None = None
    notes: tuple[str, ...] = ()
    reading: InputOptions | None = None
    path: Path | None = None

    @property
    def meshes(self) -> list[trimesh.Trimesh]:
        """The meshes that are shown: the objects, or the whole where there are none."""
        return list(self.scene.objects.values()) or ([] if self.scene.mesh is None else [self.scene.mesh])

    @property
    def unit(self) -> str:
        """The user's unit of length, from the scene or else from the input."""
        known = self.scene.frame.unit
        return self.input.unit if known == "unknown" and self.input is not None else known

    @property
    def up(self) -> tuple[float, float, float]:
        """The user's upward direction, from the scene where there is anything in it."""
        made = self.meshes or self.scene.gaussians is not None
        return self.scene.frame.up if made or self.input is None else self.input.up

    def bounds(self) -> Float[np.ndarray, "2 3"]:
        """The lowest and highest user coordinates.

        Raises:
            UserError: there is nothing to show.
        """
        corners = [self.scene.frame.to_user(np.asarray(mesh.vertices)) for mesh in self.meshes]
        known = isinstance(self.input, Views) and self.input.points is not None and len(self.input.points.points) > 0
        if self.scene.gaussians is not None and not corners and not known:
            corners.append(self.scene.frame.to_user(_most_of(self.scene.gaussians)))
        if self.input is not None and (known or not isinstance(self.input, Views) or not corners):
            corners.append(self.input.extent)
        points = np.concatenate([np.zeros((0, 3)), *corners])
        if not len(points):
            raise UserError(f"{self.name}: there is nothing to show in it, neither a mesh nor an input")
        return np.stack([points.min(0), points.max(0)])


def _most_of(gaussians: Gaussians) -> Float[np.ndarray, "2 3"]:
    """The corners of the box around most of what can be seen: haze, stray splats and the sky do not count."""
    seen = gaussians.opacities > SEEN
    means = gaussians.means[seen] if seen.any() else gaussians.means
    low, high = np.quantile(means, [(1 - MOST) / 2, (1 + MOST) / 2], axis=0)
    room = ROOM * (high - low)
    return np.stack([np.maximum(low - room, means.min(0)), np.minimum(high + room, means.max(0))])


def is_input(path: Path) -> bool:
    """Whether the path is to be read as an input: it is no run folder and holds neither a mesh nor splats."""
    return not _is_run(path) and not holds_mesh(path) and not is_splats(path)


def load(path: Path, options: InputOptions | None = None) -> Content:
    """Reads what stands at the path; `options` are for an input.

    Raises:
        UserError: nothing stands there, it is of no known kind, or what is in it cannot be read.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if _is_run(path):
        return _load_run(path)
    if is_splats(path):
        scene = read_splats(path)
        return Content(path.name, scene, notes=scene.notes, path=path)
    if holds_mesh(path):
        return Content(path.name, _welded(read_scene(path)))
    input = read(path, options)
    if isinstance(input, Photos):
        raise UserError(f"{path}: these photos have no cameras yet; `reconstruct {path}` finds them and shows all")
    return Content(path.name, Scene(), input, input.notes, options or kind_of(input).OPTIONS())


def _is_run(path: Path) -> bool:
    return (path / "run.json").exists() or (path / "scene").is_dir()


def _welded(scene: Scene) -> Scene:
    """The scene with vertices at one place made one: seams of a texture split them, and would open every section. What
    each corner of a face has of the texture stays in the mesh's `face_attributes`."""
    for mesh in (*scene.objects.values(), *([] if scene.mesh is None else [scene.mesh])):
        visual: Any = mesh.visual
        if visual.kind == "texture":
            mesh.face_attributes["uv"] = np.asarray(visual.uv)[mesh.faces]
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
    return scene


def _load_run(folder: Path) -> Content:
    """The scene of a run, and its input where that is still there; of cameras that were found for photos these."""
    if not (folder / "scene").is_dir():
        record = read_record(folder)
        if record.method == POSES and record.status == "done" and (views := input_again(folder)) is not None:
            return Content(folder.name, Scene(), views)
        status = record.status
        raise UserError(f"{folder}: the run has no scene to show yet (its status is {status}); run the command again")
    scene = read_scene_folder(folder / "scene")
    try:
        input = input_again(folder)
    except UserError as problem:
        return Content(folder.name, scene, notes=(f"the input is not shown: {problem}",), path=folder)
    notes = () if input is not None else ("the input is gone or has changed and is not shown",)
    return Content(folder.name, scene, input, notes, path=folder)
