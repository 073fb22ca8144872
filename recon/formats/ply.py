"""PLY: one mesh with colours. Binary little-endian, sRGB bytes, float64 where float32 would lose the coordinates.

A comment line `relief {...}` holds, as JSON, the unit and upward direction, and the label of a mesh that is one
object: a folder of PLY files says by itself what is in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.errors import UserError
from recon.files import replacing
from recon.formats.meshes import checked, float32_loses, whole
from recon.inputs import Label
from recon.scene import Frame, Scene
from render.meshes import own_colors

if TYPE_CHECKING:
    import trimesh

LONGEST_HEADER = 1 << 16
SCALARS = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2"},
    **{"ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}


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
    """The mesh of an ASCII or binary PLY file, with its vertex or face colours; an object where the file names a label.

    Raises:
        UserError: the file is no PLY file, is shorter than its header says, or holds no valid mesh.
    """
    import trimesh

    counts, facts = _header(path)
    try:
        loaded = trimesh.load(path, file_type="ply", process=False)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as problem:
        raise UserError(f"{path}: cannot be read as PLY ({problem})") from problem
    if not isinstance(loaded, trimesh.Trimesh):
        raise UserError(f"{path}: holds points and no face; a mesh needs at least one triangle")
    if len(loaded.vertices) != counts.get("vertex"):
        raise UserError(
            f"{path}: ends early: its header says {counts.get('vertex')} vertices, it holds {len(loaded.vertices)}"
        )
    mesh = checked(loaded, path)
    frame = Frame(unit=facts["unit"], up=facts["up"])
    if "label" in facts:
        return Scene(objects={facts["label"].name: mesh}, labels=(facts["label"],), frame=frame)
    return Scene(mesh=mesh, frame=frame)


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


def _header(path: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The header's element counts and Relief's own comment (unit, up, label), checked against the file's size.

    Raises:
        UserError: it is no PLY header, or it promises more than the file holds.
    """
    with path.open("rb") as file:
        head = file.read(LONGEST_HEADER)
    body = head.find(b"end_header")
    if not head.startswith(b"ply") or body < 0:
        raise UserError(f"{path}: is no PLY file: it does not begin with a PLY header")
    counts: dict[str, int] = {}
    least, element, facts = 0, 0, {"unit": "unknown", "up": (0.0, 0.0, 1.0)}
    binary = False
    for line in head[:body].decode("latin-1").splitlines():
        match line.split():
            case ["format", kind, *_]:
                binary = kind != "ascii"
            case ["element", name, count] if count.isdigit():
                element = counts[name] = int(count)
            case ["property", "list", size, *_]:
                least += element * (np.dtype(SCALARS.get(size, "u1")).itemsize if binary else 2)
            case ["property", kind, _]:
                least += element * (np.dtype(SCALARS.get(kind, "u1")).itemsize if binary else 2)
            case ["comment", "relief", *_]:
                facts = _facts(line.split("relief", 1)[1]) or facts
    if least > path.stat().st_size - body:
        raise UserError(f"{path}: its header promises at least {least} bytes, the file holds {path.stat().st_size}")
    return counts, facts


def _facts(text: str) -> dict[str, Any] | None:
    """Relief's comment, or None where it is not what `write` writes: a comment makes no file unreadable."""
    try:
        said = json.loads(text)
        x, y, z = map(float, said["up"])
        facts: dict[str, Any] = {"unit": str(said["unit"]), "up": (x, y, z)}
        if "label" in said:
            red, green, blue = map(float, said["label"]["color"])
            facts["label"] = Label(int(said["label"]["id"]), str(said["label"]["name"]), (red, green, blue))
    except (ValueError, KeyError, TypeError):
        return None
    return facts
