"""STL: the triangles of one mesh, nothing else. Binary; corners at exactly the same place become one vertex."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.errors import UserError
from recon.files import replacing
from recon.formats.meshes import checked, whole
from recon.scene import Scene

HEADER = 84
TRIANGLE = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def write(scene: Scene, path: Path) -> None:
    """Writes the whole mesh. STL holds float32 only: far from the origin, coordinates lose digits.

    Raises:
        UserError: the scene holds no mesh.
    """
    mesh = whole(scene)
    triangles = np.zeros(len(mesh.faces), TRIANGLE)
    triangles["corners"] = mesh.triangles
    triangles["normal"] = mesh.face_normals
    header = f"Relief, unit {scene.frame.unit}".encode("ascii", "replace")[:80].ljust(80, b" ")
    with replacing(path) as partial:
        partial.write_bytes(header + np.uint32(len(triangles)).tobytes() + triangles.tobytes())


def read(path: Path) -> Scene:
    """The mesh of a binary or ASCII STL file.

    Raises:
        UserError: the file is no STL file, its length is not what its triangle count asks for, or it holds no face.
    """
    import trimesh

    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER)
    count = int.from_bytes(head[80:84], "little")
    if len(head) == HEADER and size == HEADER + count * TRIANGLE.itemsize:
        corners = np.fromfile(path, TRIANGLE, count, offset=HEADER)["corners"].reshape(-1, 3)
    elif head.lstrip().startswith(b"solid"):
        corners = _ascii_corners(path)
    else:
        raise UserError(
            f"{path}: is no STL file: {size} bytes are not the {HEADER} + 50 a triangle of {count} triangles"
        )
    if not len(corners):
        raise UserError(f"{path}: holds no face; a mesh needs at least one triangle")
    vertices, faces = np.unique(corners, axis=0, return_inverse=True)
    mesh = trimesh.Trimesh(vertices.astype(np.float64), faces.reshape(-1, 3), process=False)
    return Scene(mesh=checked(mesh, path))


def _ascii_corners(path: Path) -> np.ndarray:
    """The vertices of an ASCII STL file in their order, three a triangle."""
    words = [line.split() for line in path.read_text("latin-1").splitlines()]
    rows = [line[1:] for line in words if line[:1] == ["vertex"]]
    try:
        corners = np.array(rows, np.float64).reshape(-1, 3)
    except ValueError as problem:
        raise UserError(f"{path}: a vertex line does not hold three numbers") from problem
    if len(corners) % 3 or words[-1][:1] != ["endsolid"]:
        raise UserError(f"{path}: ends early: the last triangle or the line endsolid is missing")
    return corners
