"""GLB (binary glTF 2.0): named objects with materials or a texture, as engines, browsers and Blender open them.

glTF is Y-up and in metres. The user's coordinates stay in the vertices as they are; one root node turns the upward
direction to +Y and scales to metres, and its `extras` say from what, so that reading the file gives the user's
coordinates again. Far from the origin, where float32 would lose digits, the objects' nodes carry the offset.
Colours are linear in glTF, and metalness is 1 where a material does not say otherwise: both are written out.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from recon.errors import UserError
from recon.files import replacing
from recon.formats.meshes import METRES, Part, checked, offset_for_float32, parts, texture_of
from recon.formats.untrusted import plain
from recon.rotations import rotation_matrices, shortest_turn
from recon.scene import Frame, Scene
from recon.slices import Label
from render.meshes import own_colors, to_bytes, to_linear, to_srgb, vertex_normals

if TYPE_CHECKING:
    import trimesh

ROUGHNESS = 0.8
LARGEST_TEXTURE = 16384
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
TYPES = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
CODES = {np.dtype(kind): code for code, kind in TYPES.items()}
COLUMNS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
TRIANGLES = 4


def write(scene: Scene, path: Path) -> None:
    """Writes the scene's objects, or its whole mesh.

    Raises:
        UserError: the scene holds no mesh.
    """
    data = encoded(scene)
    with replacing(path) as partial:
        partial.write_bytes(data)


def encoded(scene: Scene) -> bytes:
    """The bytes of the file that `write` writes.

    Raises:
        UserError: the scene holds no mesh.
    """
    written = parts(scene)
    offset = offset_for_float32(written)
    document = GlbDocument(scene.frame)
    for part in written:
        document.add(part, offset)
    return document.encoded()


def read(path: Path) -> Scene:
    """The triangles of a GLB file: one mesh gives `mesh`, several `objects`, with their texture, vertex colours or
    material colours. Of textures the base colour is read, where the file holds it as PNG or JPEG.

    A file of Relief's comes back in the user's coordinates. Any other stands in metres, Z-up: glTF's Y-up turned.

    Raises:
        UserError: the file is no GLB, is shorter than it says, needs an extension, holds no triangle, or a texture
            that is damaged or larger than 16,384 texels a side.
    """
    try:
        reader = GlbReader(path)
        frame, to_user = reader.frame()
        meshes, labels = {}, []
        for name, matrix, mesh, color in reader.nodes():
            mesh.apply_transform(to_user @ matrix)
            unique = name if name not in meshes else f"{name} ({len(meshes) + 1})"
            meshes[unique] = checked(mesh, path)
            labels.append(Label(len(meshes), unique, color))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as problem:
        raise UserError(f"{path}: its JSON is no valid glTF 2.0 ({type(problem).__name__}: {problem})") from problem
    if not meshes:
        raise UserError(f"{path}: holds no triangle; a mesh needs at least one")
    only = next(iter(meshes.values()))
    if len(meshes) == 1 and (own_colors(only)[0] or only.visual.kind == "texture"):
        return Scene(mesh=only, frame=frame)
    return Scene(objects=meshes, labels=tuple(labels), frame=frame)


class GlbDocument:
    """A glTF document being written: node 0 is the root, node and mesh i + 1 and i the i-th object."""

    def __init__(self, frame: Frame, extensions: tuple[str, ...] = ()):
        self.extensions = extensions
        scale = METRES.get(frame.unit, 1.0)
        root = {
            "name": "relief",
            "children": [],
            "rotation": _quaternion(frame.up),
            "scale": [scale] * 3,
            "extras": {"relief": {"unit": frame.unit, "up": list(frame.up)}},
        }
        self.nodes: list[dict[str, Any]] = [root]
        self.meshes: list[dict[str, Any]] = []
        self.materials: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.binary = bytearray()

    def add(self, part: Part, offset: Float64[np.ndarray, "3"]) -> None:
        """Adds one object, its node moved by the offset that its vertices lack."""
        vertices, faces, colors = _with_vertex_colors(part)
        points = (vertices - offset).astype(np.float32)
        texture = texture_of(part.mesh) if part.color is None else None
        normals = vertex_normals(points, faces) if texture is None else _normals_across_seams(points, faces)
        attributes = {
            "POSITION": self.accessor(points, target=34962, bounds=True),
            "NORMAL": self.accessor(normals, target=34962),
        }
        if colors is not None:
            linear = np.rint(to_linear(np.column_stack([colors, np.ones(len(colors))])) * 65535)
            attributes["COLOR_0"] = self.accessor(linear.astype(np.uint16), target=34962)
        white = (0.8, 0.8, 0.8) if colors is None and texture is None else (1.0, 1.0, 1.0)
        primitive = {
            "attributes": attributes,
            "indices": self.accessor(faces.reshape(-1, 1).astype(np.uint32), target=34963),
            "material": len(self.materials),
        }
        surface = {
            "baseColorFactor": [*to_linear(np.array(part.color or white, np.float64)).tolist(), 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": ROUGHNESS,
        }
        if texture is not None:
            uv, image = texture
            attributes["TEXCOORD_0"] = self.accessor((uv * (1, -1) + (0, 1)).astype(np.float32), target=34962)
            surface["baseColorTexture"] = {"index": len(self.images)}
            self.images.append({"bufferView": self._view(image), "mimeType": "image/png"})
        self.materials.append({"name": part.name, "pbrMetallicRoughness": surface, "doubleSided": True})
        self.place(part.name, primitive, offset)

    def place(self, name: str, primitive: dict[str, Any], offset: Float64[np.ndarray, "3"]) -> None:
        """Adds a node, moved by the offset, and a mesh of this one primitive under the root."""
        self.nodes[0]["children"].append(len(self.nodes))
        self.nodes.append({"name": name, "mesh": len(self.meshes), "translation": offset.tolist()})
        self.meshes.append({"name": name, "primitives": [primitive]})

    def accessor(self, values: np.ndarray, target: int, bounds: bool = False) -> int:
        """Stores an array, its rows at multiples of four bytes, and gives its accessor's number."""
        kind = {columns: name for name, columns in COLUMNS.items()}[values.shape[1]]
        accessor = {
            "bufferView": self._view(np.ascontiguousarray(values).tobytes(), target=target),
            "componentType": CODES[values.dtype],
            "count": len(values),
            "type": kind,
        }
        if values.dtype == np.uint16:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def _view(self, data: bytes, **target: int) -> int:
        """Stores bytes and gives their view's number."""
        self.views.append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **target})
        self.binary += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def encoded(self) -> bytes:
        """The file's bytes: header, JSON chunk padded with spaces, binary chunk."""
        pictures = {"images": self.images, "textures": [{"source": i} for i in range(len(self.images))]}
        text = json.dumps(
            {
                **(pictures if self.images else {}),
                **({"extensionsUsed": list(self.extensions)} if self.extensions else {}),
                **({"materials": self.materials} if self.materials else {}),
                "asset": {"version": "2.0", "generator": "Relief"},
                "scene": 0,
                "scenes": [{"nodes": [0]}],
                "nodes": self.nodes,
                "meshes": self.meshes,
                "accessors": self.accessors,
                "bufferViews": self.views,
                "buffers": [{"byteLength": len(self.binary)}],
            }
        ).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), JSON_CHUNK) + text
        chunks += struct.pack("<II", len(self.binary), BINARY_CHUNK) + self.binary
        return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


def _normals_across_seams(points: Float32[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> np.ndarray:
    """Smooth normals of a mesh whose vertices are doubled at the seams of its texture."""
    places, place = np.unique(points, axis=0, return_inverse=True)
    place = place.reshape(-1)
    return vertex_normals(places, place[faces])[place]


def _with_vertex_colors(
    part: Part,
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"], Float[np.ndarray, "v 3"] | None]:
    """Vertices, faces and sRGB vertex colours (None for a part of one colour). A vertex between faces of several
    colours is written once for each."""
    mesh = part.mesh
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    kind, own = own_colors(mesh)
    if part.color is not None or kind is None:
        return vertices, faces, None
    if kind == "vertex":
        return vertices, faces, own / 255
    colors, color = np.unique(own, axis=0, return_inverse=True)
    pair = faces * len(colors) + color.reshape(-1, 1)
    pairs, corners = np.unique(pair, return_inverse=True)
    return vertices[pairs // len(colors)], corners.reshape(-1, 3), colors[pairs % len(colors)] / 255


class GlbReader:
    """A GLB file's JSON document and binary chunk."""

    def __init__(self, path: Path, understood: tuple[str, ...] = ()):
        self.path = path
        data = path.read_bytes()
        if data[:4] != b"glTF" or len(data) < 20 or struct.unpack_from("<I", data, 4)[0] != 2:
            raise UserError(f"{path}: is no GLB file of version 2")
        length, json_length, json_kind = struct.unpack_from("<III", data, 8)
        if length > len(data) or 20 + json_length > len(data) or json_kind != JSON_CHUNK:
            raise UserError(f"{path}: its header promises {length} bytes, the file holds {len(data)}")
        self.document: dict[str, Any] = json.loads(data[20 : 20 + json_length])
        self.binary = memoryview(data)[20 + json_length + 8 : length]
        needed = [name for name in self.document.get("extensionsRequired", []) if name not in understood]
        if needed:
            raise UserError(
                f"{path}: needs the glTF extension {needed[0]}, which Relief does not read; export it without"
            )

    def frame(
        self, foreign_up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    ) -> tuple[Frame, Float64[np.ndarray, "4 4"]]:
        """The frame's unit and up, and the matrix from glTF's metres to the user's coordinates: what Relief wrote, or
        metres with `foreign_up` up."""
        roots = self.document["scenes"][self.document.get("scene", 0)]["nodes"]
        root = self.document["nodes"][roots[0]] if roots else {}
        said = root.get("extras", {}).get("relief") if isinstance(root.get("extras", {}), dict) else None
        if said is None:
            return Frame(unit="m", up=foreign_up), np.linalg.inv(_local_matrix({"rotation": _quaternion(foreign_up)}))
        x, y, z = map(float, said["up"])
        return Frame(unit=str(said["unit"]), up=(x, y, z)), np.linalg.inv(_local_matrix(root))

    def nodes(self) -> list[tuple[str, Float64[np.ndarray, "4 4"], trimesh.Trimesh, tuple[float, float, float]]]:
        """Name, world matrix, mesh and material colour of every node that has triangles, in depth-first order."""
        found = []
        for name, matrix, primitive in self.primitives():
            if primitive.get("mode", TRIANGLES) == TRIANGLES:
                found.append((name or f"object {len(found) + 1}", matrix, *self._primitive(primitive)))
        return found

    def primitives(self) -> list[tuple[str, Float64[np.ndarray, "4 4"], dict[str, Any]]]:
        """Name, world matrix and primitive of every node that has a mesh, in depth-first order."""
        nodes, found = self.document["nodes"], []
        open_nodes = [
            (index, np.eye(4)) for index in reversed(self.document["scenes"][self.document.get("scene", 0)]["nodes"])
        ]
        seen: set[int] = set()
        while open_nodes:
            index, above = open_nodes.pop()
            if index in seen:
                raise ValueError(f"node {index} has two parents")
            seen.add(index)
            matrix = above @ _local_matrix(nodes[index])
            open_nodes += [(child, matrix) for child in reversed(nodes[index].get("children", []))]
            if "mesh" in nodes[index]:
                stands = self.document["meshes"][nodes[index]["mesh"]]
                name = str(nodes[index].get("name") or stands.get("name") or "")
                found += [(name, matrix, primitive) for primitive in stands["primitives"]]
        return found

    def _primitive(self, primitive: dict[str, Any]) -> tuple[trimesh.Trimesh, tuple[float, float, float]]:
        """One primitive's triangles and its material's sRGB colour."""
        import trimesh
        from trimesh.visual import TextureVisuals
        from trimesh.visual.material import PBRMaterial

        attributes = primitive["attributes"]
        points = self.values(attributes["POSITION"])
        faces = self.values(primitive["indices"]) if "indices" in primitive else np.arange(len(points))
        linear = self.values(attributes["COLOR_0"])[:, :3].astype(np.float64) if "COLOR_0" in attributes else None
        mesh = trimesh.Trimesh(
            points.astype(np.float64),
            faces.reshape(-1, 3).astype(np.int64),
            vertex_colors=None if linear is None else to_bytes(to_srgb(linear)),
            process=False,
        )
        material = self.document["materials"][primitive["material"]] if "material" in primitive else {}
        surface = material.get("pbrMetallicRoughness", {})
        image = self._image(surface) if "TEXCOORD_0" in attributes else None
        if image is not None:
            paint = PBRMaterial(baseColorTexture=image, metallicFactor=0.0, roughnessFactor=ROUGHNESS)
            uv = self.values(attributes["TEXCOORD_0"]).astype(np.float64) * (1, -1) + (0, 1)
            mesh.visual = TextureVisuals(uv=uv, material=paint)
        red, green, blue = to_srgb(np.array(surface.get("baseColorFactor", [1, 1, 1, 1])[:3], np.float64)).tolist()
        return mesh, (red, green, blue)

    def _image(self, surface: dict[str, Any]) -> Any:
        """The picture of a material's base colour by its first texture coordinates; None where the file holds none."""
        from PIL import Image

        texture = surface.get("baseColorTexture", {"texCoord": -1})
        if texture.get("texCoord", 0) != 0:
            return None
        source = self.document["textures"][texture["index"]].get("source")
        image = {} if source is None else self.document["images"][source]
        if "bufferView" not in image:  # in a file of its own, or of another kind
            return None
        view = self.document["bufferViews"][image["bufferView"]]
        start = view.get("byteOffset", 0)
        try:
            picture = Image.open(io.BytesIO(self.binary[start : start + view["byteLength"]]), formats=("PNG", "JPEG"))
            if max(picture.size) > LARGEST_TEXTURE:
                raise UserError(f"{self.path}: a texture is {picture.size[0]} texels wide; {LARGEST_TEXTURE} are read")
            return picture.convert("RGB")
        except (OSError, SyntaxError, Image.DecompressionBombError) as problem:
            raise UserError(f"{self.path}: image {source} is damaged ({plain(problem)})") from problem

    def values(self, index: int) -> np.ndarray:
        """An accessor's rows; normalised integers come as float32 in [0, 1]."""
        accessor = self.document["accessors"][index]
        if "sparse" in accessor or "bufferView" not in accessor:
            raise ValueError(f"accessor {index} is sparse or without data")
        view = self.document["bufferViews"][accessor["bufferView"]]
        dtype, columns = np.dtype(TYPES[accessor["componentType"]]), COLUMNS[accessor["type"]]
        row, count = dtype.itemsize * columns, int(accessor["count"])
        start, stride = view.get("byteOffset", 0) + accessor.get("byteOffset", 0), view.get("byteStride", row)
        if count < 1 or start < 0 or stride < row or start + (count - 1) * stride + row > len(self.binary):
            raise UserError(f"{self.path}: accessor {index} reaches beyond the end of the file")
        values = np.ndarray((count, columns), dtype, self.binary, start, (stride, dtype.itemsize))
        if not accessor.get("normalized"):
            return values
        return np.maximum(values / np.float32(np.iinfo(dtype).max), -1)


def _local_matrix(node: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
    """A node's own transform: `matrix`, column by column, or translation * rotation * scale."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", [0, 0, 0, 1])
    rotation = rotation_matrices(np.array([w, x, y, z], np.float64))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(node.get("scale", [1, 1, 1]), np.float64)
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix


def _quaternion(up: tuple[float, float, float]) -> list[float]:
    """The shortest turn from `up` to +Y, as glTF's x, y, z, w."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(shortest_turn(up, (0, 1, 0))).as_quat().tolist()
