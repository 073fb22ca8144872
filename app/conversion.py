"""`relief convert`: a mesh file into another format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.errors import UserError
from recon.formats.meshes import float32_loses, mesh_format_of, read_scene, whole, write_scene
from recon.scene import Scene


def convert(source: Path, target: Path) -> list[str]:
    """Writes the meshes of one file in the format of another's ending; gives a sentence for each thing that the target
    cannot hold.

    Raises:
        UserError: an ending is unknown, both are the same file, or the source cannot be read.
    """
    mesh_format_of(target)
    if target.resolve() == source.resolve():
        raise UserError(f"{target}: is the file to be read; give another name")
    scene = read_scene(source)
    write_scene(scene, target)
    return what_is_lost(scene, target)


def what_is_lost(scene: Scene, target: Path) -> list[str]:
    """A sentence for each property of the scene that the target's format cannot hold."""
    row = mesh_format_of(target)
    lost: list[str] = []
    if len(scene.objects) > 1 and not row.keeps_objects:
        lost.append(f"{row.name} holds one mesh: the {len(scene.objects)} objects are joined, their names lost")
    if row.name == "STL":
        if scene.labels:
            lost.append("STL holds no colours")
        if float32_loses(np.asarray(whole(scene).vertices)):
            lost.append("STL holds float32 only: this far from the origin coordinates lose digits; PLY keeps them")
    return lost
