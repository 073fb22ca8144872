"""PLY, OBJ and STL as other programs read them, and files of other programs as Relief reads them."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from recon.errors import UserError
from recon.files import file_names, replacing
from recon.formats.meshes import read_scene, write_scene
from recon.formats.scene_folder import read_scene_folder, write_scene_folder
from recon.scene import Frame, Scene
from recon.slices import Label
from render.raycasting import import_open3d

RED, BLUE = (0.9, 0.2, 0.1), (0.1, 0.3, 0.8)


@pytest.fixture
def ball() -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=20.0)
    mesh.apply_translation((3.0, -40.0, 7.0))
    return mesh


@pytest.fixture
def labelled(ball) -> Scene:
    box = trimesh.creation.box((10, 20, 30))
    return Scene(
        objects={"Lt Lung/upper": ball, "Herz": box},
        labels=(Label(1, "Lt Lung/upper", RED), Label(2, "Herz", BLUE)),
        frame=Frame(unit="mm"),
    )


def same_surface(vertices, faces, mesh: trimesh.Trimesh, tolerance: float) -> bool:
    """Whether triangles are the mesh's, whatever the order and number of their vertices."""
    found, wanted = (
        np.sort(np.asarray(v)[np.asarray(f)].mean(1), axis=0)
        for v, f in ((vertices, faces), (mesh.vertices, mesh.faces))
    )
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() < tolerance)


@pytest.mark.parametrize("ending", ["ply", "obj", "stl"])
def test_other_readers_find_the_same_mesh(ball, tmp_path, ending):
    path = tmp_path / f"mesh.{ending}"
    write_scene(Scene(mesh=ball), path)
    other = trimesh.load(path, process=False)
    assert same_surface(other.vertices, other.faces, ball, 1e-5)
    assert other.volume == pytest.approx(ball.volume, rel=1e-6)  # the faces are turned the same way
    third = import_open3d().io.read_triangle_mesh(str(path))
    assert same_surface(third.vertices, third.triangles, ball, 1e-5)


@pytest.mark.parametrize("ending", ["ply", "obj"])
def test_vertex_colours_are_srgb_for_other_readers(ball, tmp_path, ending):
    colors = np.random.default_rng(1).integers(0, 256, (len(ball.vertices), 3)).astype(np.uint8)
    mesh = trimesh.Trimesh(ball.vertices, ball.faces, vertex_colors=colors, process=False)
    path = tmp_path / f"mesh.{ending}"
    write_scene(Scene(mesh=mesh), path)
    other = import_open3d().io.read_triangle_mesh(str(path))
    nearest = cKDTree(ball.vertices).query(np.asarray(other.vertices))[1]  # Open3D numbers OBJ vertices anew
    np.testing.assert_allclose(np.asarray(other.vertex_colors) * 255, colors[nearest], atol=0.6)
    back = read_scene(path).mesh
    np.testing.assert_array_equal(back.visual.vertex_colors[:, :3], colors)


def test_a_joined_ply_has_the_labels_colours_on_its_vertices(labelled, tmp_path):
    write_scene(labelled, tmp_path / "all.ply")
    other = trimesh.load(tmp_path / "all.ply", process=False)
    first = len(labelled.objects["Lt Lung/upper"].vertices)
    np.testing.assert_array_equal(other.visual.vertex_colors[:first, :3], np.broadcast_to((230, 51, 26), (first, 3)))
    np.testing.assert_array_equal(other.visual.vertex_colors[first:, :3], np.broadcast_to((26, 76, 204), (8, 3)))


def test_face_colours_stay_on_the_faces_of_a_ply(tmp_path):
    colors = np.random.default_rng(2).integers(0, 256, (12, 3)).astype(np.uint8)
    box = trimesh.creation.box()
    mesh = trimesh.Trimesh(box.vertices, box.faces, face_colors=colors, process=False)
    write_scene(Scene(mesh=mesh), tmp_path / "x.ply")
    for back in (trimesh.load(tmp_path / "x.ply", process=False), read_scene(tmp_path / "x.ply").mesh):
        np.testing.assert_array_equal(back.visual.face_colors[:, :3], colors)


def test_far_from_the_origin_ply_and_obj_keep_the_digits(ball, tmp_path):
    """UTM coordinates: float32 has steps of 0.5 there."""
    ball.apply_scale(0.01)
    ball.apply_translation((512_345.678, 5_412_345.678, 900.0))
    for ending in ("ply", "obj"):
        write_scene(Scene(mesh=ball), tmp_path / f"far.{ending}")
        other = trimesh.load(tmp_path / f"far.{ending}", process=False)
        np.testing.assert_allclose(other.vertices, ball.vertices, rtol=0, atol=1e-6)
    assert b"property double x" in (tmp_path / "far.ply").read_bytes()[:400]
    write_scene(Scene(mesh=trimesh.creation.box()), tmp_path / "near.ply")
    assert b"property float x" in (tmp_path / "near.ply").read_bytes()[:400]


def test_a_written_scene_stands_in_the_users_coordinates(tmp_path):
    turn = trimesh.transformations.rotation_matrix(0.7, (1, 2, 3))[:3, :3]
    frame = Frame(scale=12.0, rotation=turn, translation=np.array([100.0, -50, 3]), unit="mm")
    box = trimesh.creation.box()
    for ending in ("ply", "obj", "stl", "glb"):
        write_scene(Scene(mesh=box, frame=frame), tmp_path / f"x.{ending}")
        scene = read_scene(tmp_path / f"x.{ending}")
        mesh = scene.mesh or scene.objects["mesh"]
        assert same_surface(
            mesh.vertices, mesh.faces, trimesh.Trimesh(12 * box.vertices @ turn.T + (100, -50, 3), box.faces), 1e-4
        )


def test_obj_objects_have_materials_of_their_colours(labelled, tmp_path):
    write_scene(labelled, tmp_path / "all.obj")
    loaded = trimesh.load_scene(tmp_path / "all.obj", process=False, split_object=True)
    assert {name: len(mesh.faces) for name, mesh in loaded.geometry.items()} == {"Lt_Lung_upper": 320, "Herz": 12}
    text = (tmp_path / "all.mtl").read_text()
    assert "newmtl Lt_Lung_upper\nKd 0.9 0.2 0.1\n" in text and "newmtl Herz\nKd 0.1 0.3 0.8\n" in text
    write_scene(Scene(mesh=labelled.objects["Herz"]), tmp_path / "one.obj")
    assert "Kd 1 1 1\n" in (tmp_path / "one.mtl").read_text()


def test_obj_read_from_text_written_by_hand(tmp_path):
    """Polygons, negative indices, texture and normal indices, groups, materials."""
    (tmp_path / "paint.mtl").write_text("newmtl skin\nKd 0.5 0.25 0.75\nmap_Kd x.png\n")
    path = tmp_path / "hand.obj"
    path.write_text(
        "# a square and a triangle\nmtllib paint.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvn 0 0 1\n"
        "g square\nusemtl skin\nf 1/1/1 2/1/1 3/1/1 4/1/1\ng roof\nv 0.5 2 0\nf -2//1 -3//1 -1//1\n"
    )
    scene = read_scene(path)
    assert list(scene.objects) == ["square", "roof"]
    assert scene.labels[0].color == (0.5, 0.25, 0.75)
    assert scene.objects["square"].area == pytest.approx(1) and len(scene.objects["square"].faces) == 2
    assert scene.objects["roof"].area == pytest.approx(0.5)


def test_obj_does_not_follow_materials_out_of_its_folder(tmp_path):
    (tmp_path / "secret.mtl").write_text("newmtl a\nKd 0.1 0.2 0.3\n")
    (tmp_path / "in").mkdir()
    text = "mtllib ../secret.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\no one\nusemtl a\nf 1 2 3\no two\nf 1 2 3\n"
    (tmp_path / "in" / "x.obj").write_text(text)
    assert read_scene(tmp_path / "in" / "x.obj").labels[0].color != (0.1, 0.2, 0.3)


def test_ascii_files_of_other_programs(ball, tmp_path):
    (tmp_path / "a.ply").write_bytes(trimesh.exchange.ply.export_ply(ball, encoding="ascii"))
    (tmp_path / "a.stl").write_text(trimesh.exchange.stl.export_stl_ascii(ball))
    for ending in ("ply", "stl"):
        mesh = read_scene(tmp_path / f"a.{ending}").mesh
        assert mesh.is_watertight and same_surface(mesh.vertices, mesh.faces, ball, 1e-4)


def test_big_endian_ply_with_polygons_written_by_hand(tmp_path):
    """A pyramid's square base and one side, as the format's description has it."""
    header = (
        "ply\nformat binary_big_endian 1.0\ncomment made by hand\nelement vertex 5\nproperty double x\n"
        "property double y\nproperty double z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n"
        "element face 2\nproperty list uchar uint vertex_index\nend_header\n"
    )
    rows = [(0, 0, 0), (2, 0, 0), (2, 2, 0), (0, 2, 0), (1, 1, 3)]
    body = b"".join(struct.pack(">3d3B", *row, 10, 20, 30) for row in rows)
    body += struct.pack(">B4I", 4, 0, 3, 2, 1) + struct.pack(">B3I", 3, 0, 1, 4)  # lists of two lengths
    (tmp_path / "hand.ply").write_bytes(header.encode() + body)
    mesh = read_scene(tmp_path / "hand.ply").mesh
    assert mesh.area == pytest.approx(4 + 2 * np.hypot(3, 1) / 2)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], np.broadcast_to((10, 20, 30), (5, 3)))


def test_a_scene_folder_keeps_names_colours_unit_and_order(labelled, tmp_path):
    labelled = Scene(
        objects={**labelled.objects, "a": trimesh.creation.box()},
        labels=(*labelled.labels, Label(10, "a", (0, 0, 0))),
        frame=Frame(unit="mm", up=(0.0, 1.0, 0.0)),
    )
    write_scene_folder(labelled, tmp_path / "scene")
    files = {str(file.relative_to(tmp_path / "scene")) for file in (tmp_path / "scene").rglob("*.*")}
    assert files == {"mesh.ply", "mesh.glb", "objects/Lt_Lung_upper.ply", "objects/Herz.ply", "objects/a.ply"}
    back = read_scene_folder(tmp_path / "scene")
    assert back.labels == labelled.labels and list(back.objects) == list(labelled.objects)
    assert back.frame.unit == "mm" and back.frame.up == (0.0, 1.0, 0.0)
    assert back.objects["Herz"].volume == pytest.approx(6000)
    assert back.mesh is None and len(read_scene(tmp_path / "scene" / "mesh.ply").mesh.faces) == 320 + 12 + 12


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.ply", b"", "is no PLY file"),
        ("garbage.ply", b"\x00\x01garbage" * 100, "is no PLY file"),
        (
            "lies.ply",
            b"ply\nformat binary_little_endian 1.0\nelement vertex 900000000000\nproperty float x\nproperty float y\n"
            b"property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n" + b"\0" * 99,
            "promises at least 10800000000001 bytes",
        ),
        (
            "lies_in_text.ply",
            b"ply\nformat ascii 1.0\nelement vertex 50\nproperty float x\nproperty float y\nproperty float z\n"
            b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
            + b"0 0 0\n1 0 0\n0 1 0\n"
            + b" " * 400
            + b"\n3 0 1 2\n",
            "lies_in_text.ply",
        ),
        (
            "range.ply",
            b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
            b"element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n",
            "face 0 names a vertex that does not exist; there are 3",
        ),
        (
            "nan.ply",
            b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
            b"element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\nnan 0 0\n0 1 0\n3 0 1 2\n",
            "vertex 1 has a coordinate that is not a finite number",
        ),
        ("lies.stl", b"\0" * 80 + struct.pack("<I", 4_000_000_000) + b"\0" * 50, "of 4000000000 triangles"),
        ("cut.stl", b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\n", "ends early"),
        ("word.stl", b"solid a\nvertex 0 0 x\nendsolid\n", "does not hold three numbers"),
        ("empty.obj", b"# nothing\n", "holds no face"),
        ("range.obj", b"v 0 0 0\nv 1 0 0\nf 1 2 3\n", "line 3: the face names a vertex that does not exist; 2 stand"),
        ("short.obj", b"v 0 0\n", "line 1: a vertex needs three numbers"),
        ("word.obj", b"v 0 0 zero\n", "line 1: could not convert"),
        ("x.fbx", b"", "no mesh format has this ending"),
        ("x.usda", b"#usda 1.0\n", "does not read it"),
    ],
)
def test_bad_files_give_one_sentence(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as problem:
        read_scene(tmp_path / name)
    assert str(tmp_path / name) in str(problem.value) and "\n" not in str(problem.value)


def test_truncation_anywhere_is_noticed(labelled, tmp_path):
    """No cut of a file is read as a smaller mesh, and none gives anything but one sentence."""
    for ending in ("ply", "stl", "glb"):
        write_scene(labelled, tmp_path / f"x.{ending}")
        whole = (tmp_path / f"x.{ending}").read_bytes()
        for length in np.linspace(0, len(whole) - 1, 25).astype(int):
            (tmp_path / f"cut.{ending}").write_bytes(whole[:length])
            with pytest.raises(UserError):
                read_scene(tmp_path / f"cut.{ending}")


def test_a_failed_write_leaves_what_stood_there(ball, tmp_path, monkeypatch):
    path = tmp_path / "mesh.ply"
    path.write_bytes(b"earlier")
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_scene(Scene(mesh=ball), path)
    assert path.read_bytes() == b"earlier" and os.listdir(tmp_path) == ["mesh.ply"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(RuntimeError), replacing(folder) as partial:
        partial.mkdir()
        raise RuntimeError
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "old"]
    with replacing(folder) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "new"]


def test_file_names_are_safe_and_distinct():
    names = [
        "Lt Lung",
        "Lt/Lung",
        "lt lung",
        "../../etc/passwd",
        "",
        "...",
        "CON",
        "nul.x",
        "Nierenrinde ü",
        "肝",
        "a" * 300,
    ]
    given = file_names(names)
    assert given["Lt Lung"] == "Lt_Lung" and given["Nierenrinde ü"] == "Nierenrinde_ü" and given["肝"] == "肝"
    assert len({name.casefold() for name in given.values()}) == len(names)
    for name in given.values():
        assert "/" not in name and "\\" not in name and not name.startswith(".") and 0 < len(name) <= 83
    assert given["CON"].casefold() != "con" and not given["nul.x"].casefold().startswith("nul.")
