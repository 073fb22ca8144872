"""`relief convert`: a mesh file, or a file of splats, into another format of its kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from recon.errors import UserError
from recon.formats.meshes import float32_loses, mesh_format_of, read_scene, whole, write_scene
from recon.formats.splat_frames import Y_DOWN, float32_shifts
from recon.formats.splats import is_splats, read_splats, splat_format_of, write_splats
from recon.gaussians.cleaning import SplatCleaning, cleaned
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


def convert(
    source: Path,
    target: Path,
    cleaning: Cleaning | None = None,
    splat_cleaning: SplatCleaning | None = None,
    spz_version: int | None = None,
) -> list[str]:
    """Writes the meshes or the splats of one file in the format of another's ending; gives a sentence for each thing
    that the target cannot hold, that was left out, or that the cleaning could not do.

    Raises:
        UserError: an ending is unknown, both are the same file, the source cannot be read, an option is for the other
            kind, or nothing is left.
    """
    if target.resolve() == source.resolve():
        raise UserError(f"{target}: is the file to be read; give another name")
    if not source.exists():
        raise UserError(f"{source}: there is no such file")
    if is_splats(source):
        if cleaning not in (None, Cleaning()):
            raise UserError(f"{source}: holds splats; --drop-parts, --fill-holes, --smooth and --faces are for meshes")
        return _convert_splats(source, target, splat_cleaning or SplatCleaning(), spz_version)
    if splat_cleaning not in (None, SplatCleaning()) or spz_version is not None:
        raise UserError(
            f"{source}: holds no splats; --crop, --min-opacity, --max-size, --drop-floaters and --spz-version are "
            "for splats"
        )
    mesh_format_of(target)
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


def _convert_splats(source: Path, target: Path, cleaning: SplatCleaning, spz_version: int | None) -> list[str]:
    """The same for splats."""
    row = splat_format_of(target)
    if spz_version is not None and row.name != "SPZ":
        raise UserError(f"--spz-version: {target} is no SPZ file")
    scene = cleaned(read_splats(source), cleaning)
    if spz_version is None:
        write_splats(scene, target)
    else:
        from recon.formats import splat_spz

        splat_spz.write(scene, target, spz_version)
    return [*scene.notes, *what_splats_lose(scene, target)]


def what_splats_lose(scene: Scene, target: Path) -> list[str]:
    """A sentence for each property of the scene's Gaussians that the target's format cannot hold. That most formats
    quantise is what they are for, and none is said."""
    row, gaussians = splat_format_of(target), scene.gaussians
    assert gaussians is not None
    lost: list[str] = []
    if row.name == ".splat" and gaussians.sh_degree:
        lost.append(".splat holds no harmonics: colours no longer change with the direction")
    if gaussians.antialiased and not row.tells_antialiased:
        lost.append(f"{row.name} cannot say that the Gaussians were trained antialiased")
    if row.up is not None and scene.frame.up != Y_DOWN:
        lost.append(f"{row.name} has one upward direction: the Gaussians were turned to it")
    if row.up is not None and scene.frame.unit != "unknown":
        lost.append(f"{row.name} names no unit; its numbers are {scene.frame.unit}")
    if not row.keeps_far and float32_shifts(scene):
        lost.append(f"{row.name} holds float32 at best: this far from the origin places lose digits; PLY keeps them")
    return lost


def _has_texture(scene: Scene) -> bool:
    meshes = [*scene.objects.values(), *([] if scene.mesh is None else [scene.mesh])]
    return any(getattr(mesh.visual, "kind", None) == "texture" for mesh in meshes)
