"""The folder `scene/` of a run: what the method yielded, in the user's coordinates.

    scene/mesh.ply  scene/mesh.glb  scene/objects/<name>.ply  scene/points.ply  scene/splats.ply  scene/cameras.json

Each file is there where the scene has what it holds. The PLY files of meshes say themselves what label, unit and upward
direction they have, cameras.json says it for splats, so the folder needs no index.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recon.errors import UserError
from recon.files import file_names, replacing
from recon.formats import cameras_json, glb, ply, ply_points, splats
from recon.formats.meshes import whole
from recon.formats.options import PointOptions
from recon.scene import Scene


def write_scene_folder(scene: Scene, folder: Path) -> None:
    """Writes what the scene holds; a folder that stands there is replaced when all is written.

    Raises:
        UserError: the scene holds nothing.
    """
    if not (scene.has_mesh or scene.gaussians is not None):
        raise UserError("the method yielded neither a mesh nor splats; there is nothing to write")
    moved = scene.in_user_frame()
    with replacing(folder) as partial:
        partial.mkdir()
        if scene.has_mesh:
            _write_meshes(moved, partial)
        if moved.points is not None:
            ply_points.write_points(moved.points, partial / "points.ply")
        if scene.gaussians is not None:
            splats.write_splats(scene, partial / "splats.ply")
        if scene.cameras:
            cameras_json.write(scene.cameras, scene.frame, partial / "cameras.json")


def read_scene_folder(folder: Path) -> Scene:
    """The scene that `write_scene_folder` wrote: its objects in the order of their labels, or its one mesh, its points,
    its splats and its cameras. All are in the user's coordinates, less the translation of the scene's frame where
    float32 could not hold those of the splats.

    Raises:
        UserError: there is neither mesh.ply nor splats.ply, or a file is damaged.
    """
    if not any((folder / name).is_file() for name in ("mesh.ply", "splats.ply")):
        raise UserError(f"{folder}: holds neither mesh.ply nor splats.ply; give the folder of a run that is done")
    scene = _read_meshes(folder)
    if (folder / "points.ply").is_file():
        scene.points = ply_points.read(folder / "points.ply", PointOptions())
    if (folder / "cameras.json").is_file():
        scene.cameras, frame = cameras_json.read(folder / "cameras.json")
        scene.frame = scene.frame if scene.has_mesh else frame
    if (folder / "splats.ply").is_file():
        scene = _with_splats(scene, splats.read_splats(folder / "splats.ply"))
    return scene


def _with_splats(scene: Scene, found: Scene) -> Scene:
    """The scene, in the user's coordinates, together with the splats of another one, in the frame of these."""
    offset = found.frame.translation
    if not (scene.has_mesh or scene.cameras):
        scene.frame = found.frame
    moved = [*scene.objects.values(), *([] if scene.mesh is None else [scene.mesh])]
    for mesh in moved:
        mesh.vertices = mesh.vertices - offset
    if scene.points is not None:
        scene.points = replace(scene.points, points=scene.points.points - offset)
    cameras = tuple(replace(one, camera=found.frame.inverse().camera_to_user(one.camera)) for one in scene.cameras)
    return replace(scene, gaussians=found.gaussians, cameras=cameras, frame=replace(scene.frame, translation=offset))


def _write_meshes(scene: Scene, folder: Path) -> None:
    names = file_names(scene.objects)
    labels = {label.name: label for label in scene.labels}
    ply.write(Scene(mesh=whole(scene), frame=scene.frame), folder / "mesh.ply")
    glb.write(scene, folder / "mesh.glb")
    for name, mesh in scene.objects.items():
        if len(mesh.faces):
            label = (labels[name],) if name in labels else ()
            one = Scene(objects={name: mesh}, labels=label, frame=scene.frame)
            ply.write(one, folder / "objects" / f"{names[name]}.ply")


def _read_meshes(folder: Path) -> Scene:
    """The objects with their labels, or the one mesh, or an empty scene."""
    single = [ply.read(path) for path in sorted((folder / "objects").glob("*.ply"))]
    single = sorted((one for one in single if one.labels), key=lambda one: one.labels[0].id)
    if not single:
        return ply.read(folder / "mesh.ply") if (folder / "mesh.ply").is_file() else Scene()
    return Scene(
        objects={one.labels[0].name: mesh for one in single for mesh in one.objects.values()},
        labels=tuple(one.labels[0] for one in single),
        frame=single[0].frame,
    )
