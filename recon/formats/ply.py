"""PLY: one mesh with colours. Binary little-endian, sRGB bytes, float64 where float32 would lose the coordinates.

A comment line `relief {...}` holds, as JSON, the unit and upward direction, and the label of a mesh that is one
object: a folder of PLY files says by itself what is in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from recon.errors import UserError
from recon.files import replacing
from recon.formats.meshes import checked, float32_loses, whole
from recon.formats.ply_elements import Lists, Table, read_ply
from recon.scene import Frame, Scene
from recon.slices import Label
from render.meshes import own_colors, to_bytes

if TYPE_CHECKING:
    import trimesh


def write(scene: Scene, path: Path) -> None:
    """Writes the whole mesh, with its vertex or face colours.

    Raises:
        UserError: the scene holds no mesh.
    """
    facts: dict[str, Any] = {"unit": scene.frame.unit, "up": list(scene.frame.up)}
    if scene.mesh is None and len(scene.objects) == 1 and len(scene.labels) == 1:
        label = scene.labels[0]
        facts["label"] = {"id": label.id, "name": label.name, "color": list(label.color)}
    with replacing(path) as partial:
        partial.write_bytes(_encoded(whole(scene), facts))


def read(path: Path) -> Scene:
    """The mesh of a text or binary PLY file, polygons cut into triangles, with its vertex or face colours; an object
    where the file names a label.

    Raises:
        UserError: the file is no PLY file, is shorter than its header says, or holds no valid mesh.
    """
    import trimesh

    file = read_ply(path)
    vertex, face = file.tables.get("vertex", {}), file.tables.get("face", {})
    polygons = face.get("vertex_indices", face.get("vertex_index"))
    if not {"x", "y", "z"} <= vertex.keys() or not isinstance(polygons, Lists):
        raise UserError(f"{path}: holds no mesh: it needs vertices with x, y, z and faces with vertex_indices")
    triangles, polygon = _fans(polygons)
    face_colors = _colors(face)
    mesh = trimesh.Trimesh(
        np.stack([np.asarray(vertex[axis], np.float64) for axis in "xyz"], axis=1),
        triangles,
        vertex_colors=_colors(vertex),
        face_colors=None if face_colors is None else face_colors[polygon],
        process=False,
    )
    facts = facts_in(file.comments)
    frame = Frame(unit=facts.unit, up=facts.up)
    if facts.label is not None:
        return Scene(objects={facts.label.name: checked(mesh, path)}, labels=(facts.label,), frame=frame)
    return Scene(mesh=checked(mesh, path), frame=frame)


class Facts(NamedTuple):
    """What Relief's comment says."""

    unit: str = "unknown"
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    label: Label | None = None


def facts_in(comments: list[str]) -> Facts:
    """The facts in Relief's comment, the usual ones where there is none."""
    told = next((_facts(comment[6:]) for comment in comments if comment.startswith("relief")), None)
    return told or Facts()


def _fans(polygons: Lists) -> tuple[Int[np.ndarray, "f 3"], Int[np.ndarray, "f"]]:
    """Each polygon as a fan of triangles around its first corner, and the polygon that each triangle is of."""
    count = np.maximum(np.diff(polygons.starts) - 2, 0)
    polygon = np.repeat(np.arange(len(count)), count)
    first = polygons.starts[polygon]
    second = first + 1 + np.arange(len(polygon)) - np.repeat(np.cumsum(count) - count, count)
    return polygons.values[np.stack([first, second, second + 1], axis=1)].astype(np.int64), polygon


def _colors(table: Table) -> UInt8[np.ndarray, "n 3"] | None:
    """sRGB bytes of the rows, if the table has them; numbers that are no integers count from 0 to 1."""
    columns = [table.get(name) for name in ("red", "green", "blue")]
    if not all(isinstance(column, np.ndarray) for column in columns):
        return None
    values = np.stack(columns, axis=1)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return to_bytes(values) if values.dtype.kind == "f" else values.astype(np.uint8)


def _encoded(mesh: trimesh.Trimesh, facts: dict[str, Any]) -> bytes:
    """The file's bytes."""
    wide = float32_loses(np.asarray(mesh.vertices))
    colors = ["red", "green", "blue"]
    vertex = [(axis, "<f8" if wide else "<f4") for axis in "xyz"]
    face = [("count", "u1"), ("corners", "<i4", (3,))]
    kind, own = own_colors(mesh)
    (vertex if kind == "vertex" else face if kind == "face" else []).extend((name, "u1") for name in colors)
    vertices, faces = np.zeros(len(mesh.vertices), vertex), np.zeros(len(mesh.faces), face)
    for i, axis in enumerate("xyz"):
        vertices[axis] = mesh.vertices[:, i]
    faces["count"], faces["corners"] = 3, mesh.faces
    for i, name in enumerate(colors if kind else []):
        (vertices if kind == "vertex" else faces)[name] = own[:, i]
    lines = ["ply", "format binary_little_endian 1.0", "comment relief " + json.dumps(facts)]
    lines += [f"element vertex {len(vertices)}"]
    lines += [f"property {'double' if wide else 'float'} {axis}" for axis in "xyz"]
    lines += [f"property uchar {name}" for name in colors if name in (vertices.dtype.names or ())]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    lines += [f"property uchar {name}" for name in colors if name in (faces.dtype.names or ())]
    return "\n".join([*lines, "end_header", ""]).encode("ascii") + vertices.tobytes() + faces.tobytes()


def _facts(text: str) -> Facts | None:
    """Relief's comment, or None where it is not what `write` writes: a comment makes no file unreadable."""
    try:
        said = json.loads(text)
        x, y, z = map(float, said["up"])
        label = None
        if "label" in said:
            red, green, blue = map(float, said["label"]["color"])
            label = Label(int(said["label"]["id"]), str(said["label"]["name"]), (red, green, blue))
        return Facts(str(said["unit"]), (x, y, z), label)
    except (ValueError, KeyError, TypeError):
        return None
