"""`relief convert`: a mesh file into another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from recon.errors import UserError
from recon.formats.meshes import float32_loses, mesh_format_of, read_scene, whole, write_scene
from recon.scene import Scene
from render.meshes import own_colors

if TYPE_CHECKING:
    import trimesh


class Cleaning(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is done to each mesh on the way, in this order."""

    drop_parts: float = 0.0
    """Leave out parts smaller than this fraction of the largest part."""
    fill_holes: int = 0
    """Close boundary loops of at most so many edges."""
    smooth: float = 0.0
    """Take short waves away, keeping the volume; 1 is a good strength."""
    faces: int | None = None
    """Simplify to about so many faces; closed meshes stay closed."""


def convert(source: Path, target: Path, cleaning: Cleaning | None = None) -> list[str]:
    """Writes the meshes of one file in the format of another's ending; gives a sentence for each thing that the target
    cannot hold, or that the cleaning could not do.

    Raises:
        UserError: an ending is unknown, both are the same file, or the source cannot be read.
    """
    mesh_format_of(target)
    if target.resolve() == source.resolve():
        raise UserError(f"{target}: is the file to be read; give another name")
    scene = read_scene(source)
    notes: list[str] = []
    if cleaning is not None and cleaning != Cleaning():
        notes += ["cleaning took the texture away"] if _has_texture(scene) else []
        scene.objects = {name: _cleaned(mesh, cleaning, notes) for name, mesh in scene.objects.items()}
        scene.mesh = None if scene.mesh is None else _cleaned(scene.mesh, cleaning, notes)
    write_scene(scene, target)
    return notes + what_is_lost(scene, target)


def _cleaned(mesh: trimesh.Trimesh, cleaning: Cleaning, notes: list[str]) -> trimesh.Trimesh:
    """The mesh after the cleaning; what its simplification could not do is added to the notes."""
    from recon.surface.cleaning import simplified, smoothed, without_holes, without_small_parts

    if cleaning.drop_parts:
        mesh = without_small_parts(mesh, cleaning.drop_parts)
    if cleaning.fill_holes:
        mesh = without_holes(mesh, cleaning.fill_holes)
    if cleaning.smooth:
        mesh = smoothed(mesh, cleaning.smooth)
    if cleaning.faces is not None:
        mesh, note = simplified(mesh, cleaning.faces)
        notes += [note] if note else []
    return mesh


def what_is_lost(scene: Scene, target: Path) -> list[str]:
    """A sentence for each property of the scene that the target's format cannot hold."""
    row = mesh_format_of(target)
    lost: list[str] = []
    if len(scene.objects) > 1 and not row.keeps_objects:
        lost.append(f"{row.name} holds one mesh: the {len(scene.objects)} objects are joined, their names lost")
    if row.name in ("PLY", "STL", "USD") and _has_texture(scene):
        lost.append(f"{row.name} files of Relief hold no texture")
    if row.name == "STL":
        if scene.labels or own_colors(whole(scene))[0]:
            lost.append("STL holds no colours")
        if float32_loses(np.asarray(whole(scene).vertices)):
            lost.append("STL holds float32 only: this far from the origin coordinates lose digits; PLY keeps them")
    return lost


def _has_texture(scene: Scene) -> bool:
    meshes = [*scene.objects.values(), *([] if scene.mesh is None else [scene.mesh])]
    return any(mesh.visual.kind == "texture" for mesh in meshes)
