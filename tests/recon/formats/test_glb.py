"""GLB against a parser written here from the glTF 2.0 specification: axes, scale, linear colours, material factors."""

import json
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import trimesh

from recon.errors import UserError
from recon.formats.meshes import read_scene, write_scene
from recon.scene import Frame, Scene
from recon.slices import Label


class Node(NamedTuple):
    """A node with a mesh, everything in glTF's world: metres, Y-up."""

    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None
    material: dict
    local: np.ndarray


def parsed(path: Path) -> tuple[dict, dict[str, Node]]:
    """The JSON document and the mesh nodes by name, read by the letter of the specification (sections 4 and 5)."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data)) and length % 4 == 0
    json_length, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and json_length % 4 == 0
    document = json.loads(data[20 : 20 + json_length])
    binary_length, kind = struct.unpack_from("<I4s", data, 20 + json_length)
    binary = data[28 + json_length :]
    assert kind == b"BIN\0" and binary_length == len(binary) == document["buffers"][0]["byteLength"]

    def values(index: int) -> np.ndarray:
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        columns = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        kind = {5123: "<u2", 5125: "<u4", 5126: "<f4"}[accessor["componentType"]]
        assert view["byteOffset"] % 4 == 0
        flat = np.frombuffer(binary, kind, accessor["count"] * columns, view["byteOffset"])
        assert flat.nbytes == view["byteLength"]
        rows = flat.reshape(-1, columns)
        return rows / 65535 if accessor.get("normalized") else rows

    def matrix(node: dict) -> np.ndarray:
        x, y, z, w = node.get("rotation", (0, 0, 0, 1))
        turn = trimesh.transformations.quaternion_matrix((w, x, y, z))
        moved = trimesh.transformations.translation_matrix(node.get("translation", (0, 0, 0)))
        return moved @ turn @ np.diag([*node.get("scale", (1, 1, 1)), 1])

    found = {}
    (root,) = document["scenes"][document["scene"]]["nodes"]
    for child in document["nodes"][root]["children"]:
        node = document["nodes"][child]
        (primitive,) = document["meshes"][node["mesh"]]["primitives"]
        attributes = primitive["attributes"]
        local, world = values(attributes["POSITION"]), matrix(document["nodes"][root]) @ matrix(node)
        bounds = document["accessors"][attributes["POSITION"]]
        assert bounds["min"] == local.min(0).tolist() and bounds["max"] == local.max(0).tolist()
        colors = values(attributes["COLOR_0"]) if "COLOR_0" in attributes else None
        turn = world[:3, :3] / np.cbrt(np.linalg.det(world[:3, :3]))
        found[node["name"]] = Node(
            local @ world[:3, :3].T + world[:3, 3],
            values(attributes["NORMAL"]) @ turn.T,
            values(primitive["indices"]).reshape(-1, 3),
            colors,
            document["materials"][primitive["material"]],
            local,
        )
    return document, found


@pytest.fixture
def labelled() -> Scene:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=20.0)
    ball.apply_translation((3.0, -40.0, 70.0))
    return Scene(
        objects={"Herz ü/<b>": ball, "box": trimesh.creation.box((10, 20, 30))},
        labels=(Label(1, "Herz ü/<b>", (0.5, 0.2, 1.0)), Label(2, "box", (0.0, 0.0, 0.0))),
        frame=Frame(unit="mm"),
    )


def test_millimetres_z_up_arrive_as_metres_y_up(labelled, tmp_path):
    """(x, y, z) mm becomes (x, z, -y) / 1000 m; the vertices themselves stay as they are."""
    write_scene(labelled, tmp_path / "x.glb")
    _, nodes = parsed(tmp_path / "x.glb")
    ball = labelled.objects["Herz ü/<b>"]
    np.testing.assert_allclose(nodes["Herz ü/<b>"].points, ball.vertices[:, [0, 2, 1]] * (1e-3, 1e-3, -1e-3), atol=1e-8)
    np.testing.assert_allclose(nodes["Herz ü/<b>"].local, ball.vertices, atol=1e-5)
    node = nodes["Herz ü/<b>"]
    outward = node.points - node.points.mean(0)
    assert (np.einsum("nc,nc->n", node.normals, outward) > 0.019).all()
    np.testing.assert_array_equal(node.faces, ball.faces)
    assert set(nodes) == {"Herz ü/<b>", "box"}


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1e-3), ("m", 1.0), ("unknown", 1.0)])
@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)])
def test_up_becomes_y_and_reading_undoes_it(unit, scale, up, tmp_path):
    box = trimesh.creation.box((1, 2, 3))
    box.apply_translation((5, 6, 7))
    write_scene(Scene(mesh=box, frame=Frame(unit=unit, up=up)), tmp_path / "x.glb")
    _, nodes = parsed(tmp_path / "x.glb")
    points = nodes["mesh"].points
    np.testing.assert_allclose(points[:, 1], scale * (box.vertices @ up), atol=1e-6)
    edges = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (points, scale * box.vertices)]
    np.testing.assert_allclose(edges[0], edges[1], atol=1e-6)
    back = read_scene(tmp_path / "x.glb")
    np.testing.assert_allclose(back.objects["mesh"].vertices, box.vertices, atol=1e-6)
    assert back.frame.unit == unit and back.frame.up == up


def test_materials_are_matt_and_linear(labelled, tmp_path):
    """sRGB 0.5 is 0.214041 in linear light, 0.2 is 0.033105."""
    write_scene(labelled, tmp_path / "x.glb")
    _, nodes = parsed(tmp_path / "x.glb")
    for node in nodes.values():
        surface = node.material["pbrMetallicRoughness"]
        assert surface["metallicFactor"] == 0 and surface["roughnessFactor"] == pytest.approx(0.8)
        assert node.material["doubleSided"] is True
    factor = nodes["Herz ü/<b>"].material["pbrMetallicRoughness"]["baseColorFactor"]
    np.testing.assert_allclose(factor, (0.214041, 0.033105, 1, 1), atol=1e-5)
    assert read_scene(tmp_path / "x.glb").labels[0].color == pytest.approx((0.5, 0.2, 1.0), abs=1e-6)


def test_vertex_colours_are_linear_on_a_white_material(tmp_path):
    box = trimesh.creation.box()
    colors = np.tile(np.array([[128, 0, 255]], np.uint8), (8, 1))
    write_scene(
        Scene(mesh=trimesh.Trimesh(box.vertices, box.faces, vertex_colors=colors, process=False)), tmp_path / "x.glb"
    )
    _, nodes = parsed(tmp_path / "x.glb")
    np.testing.assert_allclose(nodes["mesh"].colors, np.broadcast_to((0.215861, 0, 1, 1), (8, 4)), atol=2e-5)
    assert nodes["mesh"].material["pbrMetallicRoughness"]["baseColorFactor"] == [1, 1, 1, 1]
    np.testing.assert_array_equal(read_scene(tmp_path / "x.glb").mesh.visual.vertex_colors[:, :3], colors)


def test_face_colours_split_the_vertices_between_them(tmp_path):
    box = trimesh.creation.box()
    top = box.face_normals[:, 2] > 0.5
    colors = np.where(top[:, None], (255, 255, 255), (0, 0, 0)).astype(np.uint8)
    write_scene(
        Scene(mesh=trimesh.Trimesh(box.vertices, box.faces, face_colors=colors, process=False)), tmp_path / "x.glb"
    )
    _, nodes = parsed(tmp_path / "x.glb")
    assert len(nodes["mesh"].points) == 8 + 4
    np.testing.assert_allclose(nodes["mesh"].local[nodes["mesh"].faces], box.triangles)
    np.testing.assert_array_equal(nodes["mesh"].colors[nodes["mesh"].faces][..., 0], np.repeat(top[:, None], 3, 1))


def test_far_from_the_origin_the_node_carries_the_offset(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2)
    ball.apply_translation((512_345.678, 5_412_345.678, 900.0))
    write_scene(Scene(mesh=ball, frame=Frame(unit="m")), tmp_path / "x.glb")
    document, nodes = parsed(tmp_path / "x.glb")
    assert np.abs(nodes["mesh"].local).max() < 2
    assert document["nodes"][1]["translation"] == pytest.approx((512_345.678, 5_412_345.678, 900.0))
    np.testing.assert_allclose(read_scene(tmp_path / "x.glb").objects["mesh"].vertices, ball.vertices, atol=1e-6)


def test_a_file_of_another_program_comes_in_metres_z_up(tmp_path):
    """trimesh writes a scene's node transforms and a material's factor; Y-up is turned to Z-up."""
    box = trimesh.creation.box((1, 2, 3))
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=(255, 0, 0, 255))
    box.visual = trimesh.visual.TextureVisuals(material=material)
    scene = trimesh.Scene()
    scene.add_geometry(box, node_name="a", transform=trimesh.transformations.translation_matrix((10, 20, 30)))
    scene.add_geometry(trimesh.creation.icosphere(), node_name="b")
    (tmp_path / "x.glb").write_bytes(scene.export(file_type="glb"))
    back = read_scene(tmp_path / "x.glb")
    assert set(back.objects) == {"a", "b"} and back.frame.unit == "m"
    np.testing.assert_allclose(back.objects["a"].bounds, [[9.5, -31.5, 19], [10.5, -28.5, 21]], atol=1e-5)
    assert back.labels[[label.name for label in back.labels].index("a")].color == pytest.approx((1, 0, 0))


def document_with(tmp_path: Path, change, binary: bytes = bytes(36)) -> Path:
    """A one-triangle GLB after a change to its JSON."""
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": len(binary)}],
    }
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path = tmp_path / "x.glb"
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


def test_a_triangle_written_by_hand(tmp_path):
    binary = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    path = document_with(tmp_path, lambda document: document["nodes"][0].update(scale=[2, 2, 2]), binary)
    (mesh,) = read_scene(path).objects.values()
    np.testing.assert_allclose(mesh.vertices, [[0, 0, 0], [2, 0, 0], [0, 0, 2]], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["accessors"][0].update(count=10**12), "accessor 0 reaches beyond the end of the file"),
        (lambda d: d["accessors"][0].pop("bufferView"), "sparse or without data"),
        (lambda d: d["bufferViews"][0].update(byteOffset=-36), "beyond the end"),
        (lambda d: d["nodes"][0].update(children=[0]), "two parents"),
        (lambda d: d["nodes"][0].update(mesh=7), "no valid glTF"),
        (lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]), "KHR_draco_mesh_compression"),
        (lambda d: d["meshes"][0]["primitives"][0].update(mode=0), "holds no triangle"),
        (lambda d: d.pop("scenes"), "no valid glTF"),
    ],
)
def test_bad_documents_give_one_sentence(tmp_path, change, said):
    path = document_with(tmp_path, change)
    with pytest.raises(UserError, match=said) as problem:
        read_scene(path)
    assert str(path) in str(problem.value)
