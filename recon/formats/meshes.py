"""The mesh formats that exist, and what they share. A new one is a module here and one line in `MESH_FORMATS`.

A mesh module has `read(path) -> Scene` and `write(scene, path) -> None`. Files hold the user's coordinates; what a
file can say about unit, upward direction and labels is kept. A written file appears under its name only when it is
whole.
"""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float64

from recon.errors import UserError
from recon.formats.ply_elements import LONGEST_HEADER
from recon.scene import Scene
from render.meshes import to_bytes

if TYPE_CHECKING:
    import trimesh

COORDINATE_TOLERANCE = 1e-6
METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}


@dataclass(frozen=True)
class MeshFormat:
    """One row of the registry. `keeps_objects` says that a file can hold several named objects, `reads` that the
    module has `read`."""

    name: str
    module: str
    suffixes: tuple[str, ...]
    keeps_objects: bool = False
    reads: bool = True


MESH_FORMATS: tuple[MeshFormat, ...] = (
    MeshFormat("PLY", "recon.formats.ply", (".ply",)),
    MeshFormat("OBJ", "recon.formats.obj", (".obj",), keeps_objects=True),
    MeshFormat("STL", "recon.formats.stl", (".stl",)),
    MeshFormat("GLB", "recon.formats.glb", (".glb",), keeps_objects=True),
    MeshFormat("USD", "recon.formats.usd", (".usdc", ".usda", ".usd"), keeps_objects=True, reads=False),
)


@dataclass(frozen=True)
class Part:
    """One object of a scene, as the files name it; `color` is sRGB in [0, 1], None where the mesh has its own."""

    name: str
    mesh: trimesh.Trimesh
    color: tuple[float, float, float] | None


def mesh_format_of(path: Path) -> MeshFormat:
    """The mesh format of the path's suffix.

    Raises:
        UserError: no mesh format has it.
    """
    for row in MESH_FORMATS:
        if path.suffix.lower() in row.suffixes:
            return row
    known = ", ".join(suffix for row in MESH_FORMATS for suffix in row.suffixes)
    raise UserError(f"{path}: no mesh format has this ending; choose one of {known}")


def holds_mesh(path: Path) -> bool:
    """Whether the file is of a mesh format; PLY and OBJ files may hold points alone, and then it is none."""
    suffix = path.suffix.lower()
    if not path.is_file() or not any(suffix in row.suffixes for row in MESH_FORMATS):
        return False
    if suffix == ".obj":
        with path.open("rb") as file:
            return any(line.startswith(b"f ") for line in file)
    if suffix == ".ply":
        with path.open("rb") as file:
            header = file.read(LONGEST_HEADER).partition(b"end_header")[0]
        return any(line.split()[2:] != [b"0"] for line in header.splitlines() if line.startswith(b"element face"))
    return True


def read_scene(path: Path) -> Scene:
    """The scene in a mesh file, in the user's coordinates: `objects` with `labels` where the file names objects with
    a colour each, else `mesh`.

    Raises:
        UserError: the ending is unknown, or the file cannot be opened or holds no valid mesh; the sentence says why.
    """
    row = mesh_format_of(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    if not row.reads:
        raise UserError(f"{path}: Relief writes {row.name} and does not read it; give PLY, OBJ, STL or GLB")
    return importlib.import_module(row.module).read(path)


def write_scene(scene: Scene, path: Path) -> None:
    """Writes the scene in the format of the path's suffix.

    Raises:
        UserError: the ending is unknown, the format's package is missing, or the scene holds no mesh.
    """
    importlib.import_module(mesh_format_of(path).module).write(scene, path)


def parts(scene: Scene) -> list[Part]:
    """The scene's objects in the user's coordinates, each with its label's colour; the whole mesh where there are none.

    Raises:
        UserError: the scene holds no mesh.
    """
    scene = scene.in_user_frame()
    colors = {label.name: label.color for label in scene.labels}
    found = [Part(name, mesh, colors.get(name)) for name, mesh in scene.objects.items() if len(mesh.faces)]
    if not found and scene.mesh is not None and len(scene.mesh.faces):
        found = [Part("mesh", scene.mesh, None)]
    if not found:
        raise UserError("the scene holds no mesh with a face; there is nothing to write")
    return found


def whole(scene: Scene) -> trimesh.Trimesh:
    """The whole mesh in the user's coordinates; where the scene has objects only, they are joined, with their labels'
    colours on the vertices.

    Raises:
        UserError: the scene holds no mesh.
    """
    if scene.mesh is not None and len(scene.mesh.faces):
        return scene.in_user_frame().mesh or scene.mesh
    return joined(parts(scene))


def joined(of: list[Part]) -> trimesh.Trimesh:
    """One mesh of several, with vertex colours where any part has a colour."""
    import trimesh

    if len(of) == 1 and of[0].color is None:
        return of[0].mesh
    starts = np.cumsum([0] + [len(part.mesh.vertices) for part in of])
    colors = [np.tile(np.array(part.color or (0.8, 0.8, 0.8), np.float64), (len(part.mesh.vertices), 1)) for part in of]
    return trimesh.Trimesh(
        np.concatenate([part.mesh.vertices for part in of]),
        np.concatenate([part.mesh.faces + start for part, start in zip(of, starts[:-1], strict=True)]),
        vertex_colors=to_bytes(np.concatenate(colors)),
        process=False,
    )


def float32_loses(points: Float[np.ndarray, "n 3"]) -> bool:
    """Whether float32 may move a point by more than 1e-6 of the extent, as it does far from the origin."""
    extent = float(np.ptp(points, axis=0).max())
    step = float(np.spacing(np.float32(np.abs(points).max())))
    return step / 2 > COORDINATE_TOLERANCE * extent


def texture_of(mesh: trimesh.Trimesh) -> tuple[Float[np.ndarray, "v 2"], bytes] | None:
    """The texture coordinates of the vertices (v upward) and the texture as a PNG file; None where there is none."""
    visual: Any = mesh.visual
    image = getattr(getattr(visual, "material", None), "baseColorTexture", None)
    if visual.kind != "texture" or image is None:
        return None
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return np.asarray(visual.uv, np.float64), stream.getvalue()


def offset_for_float32(of: list[Part]) -> Float64[np.ndarray, "3"]:
    """What to take off the vertices so that float32 keeps them: the middle of all where they lie far from the origin,
    else zero."""
    if not any(float32_loses(np.asarray(part.mesh.vertices)) for part in of):
        return np.zeros(3)
    bounds = np.concatenate([part.mesh.bounds for part in of])
    return (bounds.min(0) + bounds.max(0)) / 2


def checked(mesh: trimesh.Trimesh, path: Path) -> trimesh.Trimesh:
    """The mesh, if it has faces, finite vertices, and faces that name vertices that exist.

    Raises:
        UserError: it has not; the sentence names the element.
    """
    if not len(mesh.faces):
        raise UserError(f"{path}: holds no face; a mesh needs at least one triangle")
    wrong = np.flatnonzero(~np.isfinite(mesh.vertices).all(axis=1))
    if len(wrong):
        raise UserError(f"{path}: vertex {wrong[0]} has a coordinate that is not a finite number")
    outside = np.flatnonzero((mesh.faces < 0).any(axis=1) | (mesh.faces >= len(mesh.vertices)).any(axis=1))
    if len(outside):
        raise UserError(f"{path}: face {outside[0]} names a vertex that does not exist; there are {len(mesh.vertices)}")
    return mesh
