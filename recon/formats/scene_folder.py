"""The folder `scene/` of a run: the whole mesh as PLY and GLB, each object as a PLY file of its own, and the points.

    scene/mesh.ply  scene/mesh.glb  scene/objects/<name>.ply  scene/points.ply

The PLY files say themselves what label, unit and upward direction they have, so the folder needs no index.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recon.errors import UserError
from recon.files import file_names, replacing
from recon.formats import glb, ply, ply_points
from recon.formats.meshes import whole
from recon.formats.options import PointOptions
from recon.scene import Scene


def write_scene_folder(scene: Scene, folder: Path) -> None:
    """Writes the scene's meshes and points; a folder that stands there is replaced when all is written.

    Raises:
        UserError: the scene holds no mesh.
    """
    scene = scene.in_user_frame()
    names = file_names(scene.objects)
    labels = {label.name: label for label in scene.labels}
    with replacing(folder) as partial:
        ply.write(Scene(mesh=whole(scene), frame=scene.frame), partial / "mesh.ply")
        glb.write(scene, partial / "mesh.glb")
        for name, mesh in scene.objects.items():
            if len(mesh.faces):
                label = (labels[name],) if name in labels else ()
                one = Scene(objects={name: mesh}, labels=label, frame=scene.frame)
                ply.write(one, partial / "objects" / f"{names[name]}.ply")
        if scene.points is not None:
            ply_points.write_points(scene.points, partial / "points.ply")


def read_scene_folder(folder: Path) -> Scene:
    """The scene that `write_scene_folder` wrote, in the user's coordinates: its objects in the order of their labels,
    or its one mesh, and its points.

    Raises:
        UserError: there is no mesh.ply, or a file is damaged.
    """
    if not (folder / "mesh.ply").is_file():
        raise UserError(f"{folder}: holds no mesh.ply; give the folder of a run that is done")
    points = folder / "points.ply"
    cloud = ply_points.read(points, PointOptions()) if points.is_file() else None
    single = [ply.read(path) for path in sorted((folder / "objects").glob("*.ply"))]
    single = sorted((one for one in single if one.labels), key=lambda one: one.labels[0].id)
    if not single:
        return replace(ply.read(folder / "mesh.ply"), points=cloud)
    return Scene(
        objects={one.labels[0].name: mesh for one in single for mesh in one.objects.values()},
        labels=tuple(one.labels[0] for one in single),
        points=cloud,
        frame=single[0].frame,
    )
