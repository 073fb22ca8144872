"""What an export leaves on the disk, and what it refuses. The files' contents are tested in tests/recon/formats, the
import into Blender in test_blender.py."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from app.conversion import Cleaning, convert
from app.export import SCRIPT, export
from recon.errors import UserError
from recon.formats.meshes import read_scene, write_scene
from recon.formats.scene_folder import write_scene_folder
from recon.inputs import CrossSections, PointCloud
from recon.scene import Frame, Scene
from recon.slices import Label, Plane, Ring
from recon.surface.texture import textured

LABELS = (Label(1, "Lt Lung/upper", (0.9, 0.2, 0.1)), Label(2, "Herz", (0.1, 0.3, 0.8)))


@pytest.fixture
def run(tmp_path) -> Path:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=20.0)
    scene = Scene(
        objects={"Lt Lung/upper": ball, "Herz": trimesh.creation.box((10, 20, 30))},
        labels=LABELS,
        frame=Frame(unit="mm"),
    )
    write_scene_folder(scene, tmp_path / "my-run" / "scene")
    return tmp_path / "my-run"


@pytest.fixture
def sections() -> CrossSections:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10.0]])
    plane = Plane(np.array([1000.0, 2000, 5]), np.array([[0, 1.0, 0], [0, 0, 1]]), (Ring(square, 2),), (square[:2],))
    return CrossSections(labels=LABELS, contours=(plane,), unit="mm")


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("to", ["glb", "obj", "ply", "stl"])
def test_a_file_stands_in_the_run_unless_told_otherwise(run, tmp_path, to):
    assert export(run, to).path == run / "export" / f"my-run.{to}"
    assert export(run, to, tmp_path / "here" / f"x.{to}").path == tmp_path / "here" / f"x.{to}"
    assert read_scene(tmp_path / "here" / f"x.{to}")


def test_what_the_target_cannot_hold_is_said(run):
    assert export(run, "glb").notes == []
    assert export(run, "stl").notes == [
        "STL holds one mesh: the 2 objects are joined, their names lost",
        "STL holds no colours",
    ]


def test_a_folder_gets_a_file_for_each_object(run, tmp_path):
    path = export(run, "stl", tmp_path / "parts").path
    assert names(path) == {"Lt_Lung_upper.stl", "Herz.stl", "README.txt"}
    assert read_scene(path / "Herz.stl").mesh.volume == pytest.approx(6000)
    export(run, "stl", tmp_path / "parts")  # an earlier export is replaced


def test_the_blender_folder_is_whole(run, sections):
    path = export(run, "blender", input=sections).path
    assert path == run / "export" / "blender"
    assert names(path) == {"scene.glb", "contours.json", "import_relief.py", "README.txt"}
    assert (path / "import_relief.py").read_bytes() == SCRIPT.read_bytes()
    assert "mm, scaled to metres" in (path / "README.txt").read_text()


def test_contours_are_relative_to_their_offset(run, sections):
    """The square at (1000, 2000..2010, 5..15)."""
    contours = json.loads((export(run, "blender", input=sections).path / "contours.json").read_text())
    ring, line = contours["contours"]
    assert (ring["label"], ring["closed"], line["closed"]) == ("Herz", True, False)
    assert ring["color"] == [0.1, 0.3, 0.8]
    points = np.array(ring["points"]) + contours["offset"]
    np.testing.assert_allclose(points, [[1000, 2000, 5], [1000, 2010, 5], [1000, 2010, 15], [1000, 2000, 15]])
    assert np.abs(ring["points"]).max() < 10


def test_the_script_for_blender_needs_nothing_but_blender():
    """MIT, Blender's own modules and the standard library."""
    text = SCRIPT.read_text()
    assert text.startswith("# SPDX-License-Identifier: MIT\n")
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(text, feature_version=(3, 11)))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
        + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    }
    assert imported - set(sys.stdlib_module_names) == {"bpy", "mathutils"}


def test_a_foreign_folder_is_refused_and_kept(run, tmp_path):
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "photo.jpg").write_text("mine")
    (folder / "README.txt").write_text("My holiday.")
    with pytest.raises(UserError, match="did not export"):
        export(run, "blender", folder)
    with pytest.raises(UserError, match="did not export"):
        export(run, "stl", folder)
    assert names(folder) == {"photo.jpg", "README.txt"}
    export(run, "blender", folder, fresh=True)
    assert "scene.glb" in names(folder) and "photo.jpg" not in names(folder)


def test_an_earlier_export_is_replaced_whole(run, sections):
    path = export(run, "blender", input=sections).path
    (path / "scene.blend").write_text("stale")
    export(run, "blender")
    assert names(path) == {"scene.glb", "import_relief.py", "README.txt"}


@pytest.mark.parametrize(
    ("to", "out", "said"),
    [
        ("spz", None, "holds no splats; they come from photos"),
        ("transforms", None, "holds no cameras"),
        ("fbx", None, "no such target; choose one of blender, glb, obj, ply, stl, usd,"),
        ("glb", "x.stl", "--to glb writes files that end in .glb"),
        ("glb", "x.txt", "no mesh format has this ending"),
    ],
)
def test_wrong_targets_give_one_sentence(run, tmp_path, to, out, said):
    with pytest.raises(UserError, match=said):
        export(run, to, None if out is None else tmp_path / out)
    assert not (run / "export").exists()


def test_a_run_without_a_mesh_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds neither mesh.ply nor splats.ply"):
        export(tmp_path, "glb")


def stand_in(path: Path, work: str) -> Path:
    """A program that answers to --version as Blender does and then works."""
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Blender 4.2.0" && exit\necho "$@" > "$0.args"\n{work}\n')
    path.chmod(0o755)
    return path


def test_a_blender_program_is_run_in_the_background(run, tmp_path, monkeypatch):
    program = stand_in(tmp_path / "blender", "ls > scene.blend")
    monkeypatch.setenv("RELIEF_BLENDER", str(program))
    path = export(run, "blender").path
    assert (path / "scene.blend").read_text().split() == ["README.txt", "import_relief.py", "scene.blend", "scene.glb"]
    said = (tmp_path / "blender.args").read_text().split()
    assert said[0] == "--background" and said[-4:] == ["import_relief.py", "--", "--save", "scene.blend"]


def test_a_blender_that_hangs_is_ended(run, tmp_path, monkeypatch):
    monkeypatch.setattr("app.export.BLENDER_SECONDS", 0.3)
    with pytest.raises(UserError, match="took more than 0.3 s"):
        export(run, "blender", blender=stand_in(tmp_path / "blender", "exec sleep 30"))
    assert not list((run / "export").iterdir())


@pytest.mark.parametrize("work", ["echo cannot import >&2; exit 1", "exit 0"])
def test_when_blender_fails_nothing_is_left(run, tmp_path, work):
    program = stand_in(tmp_path / "blender", work)
    with pytest.raises(UserError, match="could not import the scene"):
        export(run, "blender", blender=program)
    assert not list((run / "export").iterdir())


def test_what_is_no_blender_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="cannot be started"):
        export(run, "blender", blender=tmp_path / "missing")
    with pytest.raises(UserError, match="neither a Blender nor a Python"):
        export(run, "blender", blender=Path("/bin/echo"))
    assert not (run / "export").exists()


def test_conversion_says_when_a_texture_is_lost(tmp_path):
    cloud = PointCloud(trimesh.creation.icosphere(3).vertices, colors=np.full((642, 3), 90, np.uint8))
    write_scene(Scene(mesh=textured(trimesh.creation.icosphere(2), cloud, 128)), tmp_path / "ball.glb")
    assert convert(tmp_path / "ball.glb", tmp_path / "kept.glb") == []
    assert "texture" in convert(tmp_path / "ball.glb", tmp_path / "ball.ply")[0]
    assert "texture" in convert(tmp_path / "ball.glb", tmp_path / "small.glb", Cleaning(faces=200))[0]


def test_conversion_keeps_objects_and_says_what_is_lost(run, tmp_path):
    source = run / "scene" / "mesh.glb"
    assert convert(source, tmp_path / "x.obj") == []
    assert [label.color for label in read_scene(tmp_path / "x.obj").labels] == [label.color for label in LABELS]
    assert len(convert(source, tmp_path / "x.stl")) == 2
    with pytest.raises(UserError, match="is the file to be read"):
        convert(source, source)
    with pytest.raises(UserError, match="there is no such file"):
        convert(tmp_path / "no.ply", tmp_path / "y.stl")


def test_stl_far_from_the_origin_is_warned_of(tmp_path):
    ball = trimesh.creation.icosphere()
    ball.apply_translation((512_345.678, 5_412_345.678, 900.0))
    write_scene(Scene(mesh=ball), tmp_path / "far.ply")
    (note,) = convert(tmp_path / "far.ply", tmp_path / "far.stl")
    assert "coordinates lose digits" in note
