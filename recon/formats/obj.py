"""Wavefront OBJ: named objects, a material each in an .mtl file beside it (text), a texture as a PNG file.

Diffuse colours stand in the .mtl as sRGB, as Blender and most programs read them; a mesh that has vertex colours of
its own keeps them as three numbers behind each vertex and gets a white material, which darkens nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from recon.errors import UserError
from recon.files import file_names, replacing
from recon.formats.meshes import Part, checked, parts, texture_of
from recon.inputs import distinct_color
from recon.scene import Scene
from recon.slices import Label
from render.meshes import own_colors, to_bytes

if TYPE_CHECKING:
    import trimesh

LONGEST_POLYGON = 10_000


def write(scene: Scene, path: Path) -> None:
    """Writes the scene's objects, or its whole mesh, and the materials to the same name with the ending .mtl.

    Raises:
        UserError: the scene holds no mesh.
    """
    written = parts(scene)
    names = file_names(part.name for part in written)
    materials = path.with_suffix(".mtl")
    extent = max(float(np.ptp(part.mesh.vertices, axis=0).max()) for part in written)
    decimals = max(0, 8 - int(np.floor(np.log10(extent or 1.0))))
    textures = {part.name: _write_texture(part, path, names[part.name]) for part in written}
    with replacing(materials) as partial:
        texts = (_material(names[part.name], part.color or (1, 1, 1), textures[part.name]) for part in written)
        partial.write_text("\n".join(texts))
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(f"# Relief, unit {scene.frame.unit}\nmtllib {materials.name}\n")
        start = start_uv = 1
        for part in written:
            file.write(f"o {names[part.name]}\nusemtl {names[part.name]}\n")
            file.write(_lines("v", _vertices(part), f"%.{decimals}f"))
            if textures[part.name]:
                file.write(_lines("vt", part.mesh.visual.uv, "%.6f"))  # pyright: ignore
                corners = np.stack([part.mesh.faces + start, part.mesh.faces + start_uv], axis=2)
                file.write(_lines("f", corners.reshape(-1, 6), "%d/%d", 3))
                start_uv += len(part.mesh.vertices)
            else:
                file.write(_lines("f", part.mesh.faces + start, "%d"))
            start += len(part.mesh.vertices)


def read(path: Path) -> Scene:
    """The objects of an OBJ file with the diffuse colours of their materials; polygons are cut into triangles.

    Objects, else groups, become `objects`; a file with one of them only, or none, gives `mesh`. Texture coordinates
    and normals are passed over.

    Raises:
        UserError: a line cannot be understood (the sentence gives its number), or there is no face.
    """
    text = _Text(path)
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                text.take(line.split(), number)
    except (ValueError, IndexError) as problem:
        raise UserError(f"{path}, line {number}: {problem}") from problem  # pyright: ignore[reportPossiblyUnbound]
    groups = {name: group for name, group in text.groups.items() if group.faces}
    if not groups:
        raise UserError(f"{path}: holds no face; a mesh needs at least one triangle")
    vertices = np.array(text.vertices, np.float64)
    meshes = {name: _mesh(vertices, text.colors, group, path) for name, group in groups.items()}
    if len(meshes) == 1:
        return Scene(mesh=next(iter(meshes.values())))
    labels = tuple(
        Label(i + 1, name, text.materials.get(groups[name].material) or distinct_color(i))
        for i, name in enumerate(meshes)
    )
    return Scene(objects=meshes, labels=labels)


@dataclass
class _Group:
    """The triangles of one object, 0-based, and the material it uses first."""

    faces: list[tuple[int, int, int]] = field(default_factory=list)
    material: str = ""


class _Text:
    """An OBJ file as its lines say it."""

    def __init__(self, path: Path):
        self.path = path
        self.vertices: list[tuple[float, float, float]] = []
        self.colors: list[tuple[float, float, float]] = []
        self.groups: dict[str, _Group] = {"mesh": _Group()}
        self.materials: dict[str, tuple[float, float, float]] = {}
        self.current = self.groups["mesh"]
        self.has_objects = False

    def take(self, words: list[str], number: int) -> None:
        """Understands one line."""
        match words:
            case ["v", x, y, z, *rest]:
                self.vertices.append((float(x), float(y), float(z)))
                if len(rest) >= 3:
                    self.colors.append((float(rest[-3]), float(rest[-2]), float(rest[-1])))
            case ["f", *corners]:
                self.current.faces.extend(self._triangles(corners))
            case ["o", *name]:
                self.has_objects = True
                self._begin(" ".join(name))
            case ["g", *name] if not self.has_objects:
                self._begin(" ".join(name))
            case ["usemtl", *name] if not self.current.material:
                self.current.material = " ".join(name)
            case ["mtllib", *name]:
                self.materials.update(_read_materials(self.path, " ".join(name)))
            case ["v", *_]:
                raise ValueError("a vertex needs three numbers")

    def _begin(self, name: str) -> None:
        self.current = self.groups.setdefault(name or "mesh", _Group())

    def _triangles(self, corners: list[str]) -> Iterator[tuple[int, int, int]]:
        """A polygon's triangles, a fan around its first corner."""
        if not 3 <= len(corners) <= LONGEST_POLYGON:
            raise ValueError(f"a face needs at least three corners, this one has {len(corners)}")
        known = len(self.vertices)
        index = [int(corner.partition("/")[0]) for corner in corners]
        index = [known + i if i < 0 else i - 1 for i in index]
        if not all(0 <= i < known for i in index):
            raise ValueError(f"the face names a vertex that does not exist; {known} stand before it")
        return ((index[0], b, c) for b, c in zip(index[1:-1], index[2:], strict=True))


def _read_materials(path: Path, name: str) -> dict[str, tuple[float, float, float]]:
    """Diffuse colours by material name; none where the file is missing or lies outside the OBJ's folder."""
    library = (path.parent / name).resolve()
    if not library.is_relative_to(path.parent.resolve()) or not library.is_file():
        return {}
    colors: dict[str, tuple[float, float, float]] = {}
    current = ""
    for number, line in enumerate(library.read_text("utf-8", errors="replace").splitlines(), 1):
        match line.split():
            case ["newmtl", *words]:
                current = " ".join(words)
            case ["Kd", red, green, blue]:
                try:
                    colors[current] = (float(red), float(green), float(blue))
                except ValueError as problem:
                    raise UserError(f"{library}, line {number}: Kd needs three numbers") from problem
    return colors


def _mesh(
    vertices: Float[np.ndarray, "v 3"], colors: list[tuple[float, float, float]], group: _Group, path: Path
) -> trimesh.Trimesh:
    """One object with the vertices that it uses, in their order."""
    import trimesh

    used, faces = np.unique(np.array(group.faces), return_inverse=True)
    own = to_bytes(np.array(colors)[used]) if len(colors) == len(vertices) else None
    return checked(trimesh.Trimesh(vertices[used], faces.reshape(-1, 3), vertex_colors=own, process=False), path)


def _vertices(part: Part) -> Float[np.ndarray, "v k"]:
    """The lines' numbers: coordinates, and vertex colours where the part has its own."""
    kind, own = own_colors(part.mesh)
    if part.color is not None or kind != "vertex":
        return np.asarray(part.mesh.vertices)
    return np.concatenate([part.mesh.vertices, own / 255], axis=1)


def _lines(word: str, rows: np.ndarray, number: str, count: int | None = None) -> str:
    """A line for each row: the word and the row's numbers, by default as many as there are columns."""
    line = " ".join([word] + [number] * (count or rows.shape[1])) + "\n"
    return (line * len(rows)) % tuple(rows.ravel().tolist())


def _write_texture(part: Part, path: Path, name: str) -> str:
    """Writes the part's texture beside the OBJ and gives its file's name, which is empty where there is none."""
    texture = texture_of(part.mesh) if part.color is None else None
    if texture is None:
        return ""
    image = path.with_name(f"{path.stem}-{name}.png")
    with replacing(image) as partial:
        partial.write_bytes(texture[1])
    return image.name


def _material(name: str, color: tuple[float, float, float], texture: str) -> str:
    red, green, blue = color
    map_ = f"map_Kd {texture}\n" if texture else ""
    return f"newmtl {name}\nKd {red:.6g} {green:.6g} {blue:.6g}\nKa 0 0 0\nKs 0 0 0\nd 1\nillum 1\n{map_}"
