"""The viewer's server side: sections, fillings, previews, run folders, ports, and the live preview's manners."""

import shutil
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh
import viser
from manifold3d import CrossSection, FillRule, Manifold, Mesh
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from app.runs import InputRecord, Request, RunRecord, digest, write_record
from app.viewer import Content, LivePreview, load
from app.viewer.facts import facts
from app.viewer.measure import first_hit
from app.viewer.section import SectionPlane, Triangles, closed_loops, outline, part_below, section_filling
from app.viewer.server import directions, start_server
from app.viewer.serving import open_page
from app.viewer.surfaces import PREVIEW_FACES, simplified, surfaces_of
from recon.errors import UserError
from recon.formats import SliceOptions
from recon.formats.meshes import write_scene
from recon.formats.scene_folder import write_scene_folder
from recon.inputs import CrossSections
from recon.progress import Progress
from recon.scene import Frame, Scene
from recon.slices import Label, Plane, Ring

BONE, LUNG = Label(1, "bone", (0.9, 0.8, 0.6)), Label(2, "left lung", (0.3, 0.5, 0.9))
XY = np.eye(3)[:2]


def triangles(mesh: trimesh.Trimesh) -> Triangles:
    return Triangles(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64))


def square(side: float, center: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    return side / 2 * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]) + center


def area(mesh: Triangles) -> float:
    return float(trimesh.Trimesh(*mesh, process=False).area)


def silhouette(mesh: Triangles, u: int, v: int) -> CrossSection:
    """The shadow that the mesh throws along the third axis."""
    corners = mesh.vertices[mesh.faces][:, :, [u, v]]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return CrossSection(list(corners[ax * by - ay * bx > 0]), FillRule.NonZero)


def sphere_with_cavity(outer: float, inner: float) -> trimesh.Trimesh:
    cavity = trimesh.creation.icosphere(5, inner)
    cavity.invert()
    return trimesh.util.concatenate([trimesh.creation.icosphere(5, outer), cavity])


R, S = 1.0, np.sqrt(0.3**2 - 0.1**2)  # a torus of radii 1 and .3, cut .1 above its middle: an annulus R - S to R + S
SECTIONS = {
    "box": (trimesh.creation.box((2, 1, 1)), SectionPlane(0, 0.3), 1.0, 4.0, 1),
    "torus": (trimesh.creation.torus(1, 0.3, 256, 128), SectionPlane(2, 0.1), 4 * np.pi * R * S, 4 * np.pi * R, 2),
    "nested": (sphere_with_cavity(1, 0.5), SectionPlane(1, 0.0), np.pi * 0.75, np.pi * 3, 2),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_section_has_the_area_and_outline_of_the_solid(name):
    mesh, plane, expected_area, expected_length, loops = SECTIONS[name]
    curve = outline(triangles(mesh), plane.height(np.asarray(mesh.vertices)))
    lengths = np.linalg.norm(np.diff(curve.points[curve.segments], axis=1), axis=2)
    assert len(closed_loops(curve.segments)) == loops
    assert lengths.sum() == pytest.approx(expected_length, rel=2e-3)
    assert area(section_filling(curve, plane)) == pytest.approx(expected_area, rel=2e-3)


@pytest.mark.parametrize("name", SECTIONS)
def test_part_below_and_filling_enclose_what_another_library_cuts_off(name):
    mesh, plane, *_ = SECTIONS[name]
    height = plane.height(np.asarray(mesh.vertices))
    kept, filling = part_below(triangles(mesh), height), section_filling(outline(triangles(mesh), height), plane)
    faces = np.concatenate([kept.faces, filling.faces + len(kept.vertices)])
    closed = trimesh.Trimesh(np.concatenate([kept.vertices, filling.vertices]), faces, process=False)
    solid = Manifold(Mesh(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.uint32)))
    truth = solid.trim_by_plane((-np.eye(3)[plane.axis]).tolist(), -plane.position)
    assert closed.volume == pytest.approx(truth.volume(), rel=1e-5)
    assert kept.vertices[:, plane.axis].max() <= plane.position + 1e-12


def test_section_through_vertices_is_closed():
    mesh = trimesh.creation.icosphere(3)
    assert (mesh.vertices[:, 2] == 0).sum() > 10
    curve = outline(triangles(mesh), np.asarray(mesh.vertices[:, 2]))
    (loop,) = closed_loops(curve.segments)
    assert len(loop) == len(curve.segments)


def test_section_of_an_open_sheet_has_an_outline_and_no_filling():
    sheet = Triangles(np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]]), np.array([[0, 1, 2], [1, 3, 2]]))
    plane = SectionPlane(2, 0.25)
    curve = outline(sheet, plane.height(sheet.vertices))
    assert len(curve.segments) == 2
    assert len(section_filling(curve, plane).faces) == 0


def test_preview_keeps_the_silhouette():
    torus = trimesh.creation.torus(1, 0.3, 256, 128)
    preview = simplified(triangles(torus), 0.05)
    assert len(preview.faces) <= 0.05 * len(torus.faces) + 2
    points = trimesh.Trimesh(*preview, process=False).sample(5000)
    x, y, z = points.T
    distance = np.hypot(np.hypot(x, y) - 1, z) - 0.3
    assert np.abs(distance).max() < 0.01
    for u, v in ((0, 1), (1, 2)):
        before, after = silhouette(triangles(torus), u, v), silhouette(preview, u, v)
        assert ((before - after) + (after - before)).area() < 0.01 * before.area()


def test_preview_budget_is_shared_and_said_in_the_facts():
    balls = {name: trimesh.creation.icosphere(level) for name, level in (("bone", 4), ("left lung", 3))}
    content = Content("balls", Scene(objects=balls, labels=(BONE, LUNG)))
    surfaces = surfaces_of(content.scene, Frame(), limit=1600)
    assert [len(surface.preview.faces) for surface in surfaces] == pytest.approx([1280, 320], abs=4)
    assert [surface.color for surface in surfaces] == [BONE.color, LUNG.color]
    said = facts(content, surfaces)
    assert "3,204 vertices, 6,400 faces" in said
    assert "2 of 2 surfaces watertight" in said
    assert "shown with 1,600 faces" in said


def test_ray_meets_the_nearest_surface():
    near, far = trimesh.creation.icosphere(4), trimesh.creation.box((1, 1, 1))
    far.apply_translation([0, 0, -5])
    hit = first_hit(np.array([0.01, 0.02, 4.0]), np.array([0.0, 0, -1]), [triangles(far), triangles(near)])
    assert hit == pytest.approx([0.01, 0.02, 1.0], abs=2e-3)
    assert first_hit(np.array([3.0, 0, 4]), np.array([0.0, 0, -1]), [triangles(near)]) is None


def two_label_run(folder: Path, source: Path) -> None:
    """A finished run of that input, as the command leaves it."""
    frame = Frame(unit="mm", up=(0.0, -1.0, 0.0))
    objects = {LUNG.name: trimesh.creation.box((2.0,) * 3), BONE.name: trimesh.creation.box((1.0,) * 3)}
    write_scene_folder(Scene(objects=objects, labels=(LUNG, BONE), frame=frame), folder / "scene")
    taken = InputRecord((str(source),), digest(source), SliceOptions())
    request = Request(taken, "orex", {}, seed=0, device="cpu", time_limit=None)
    write_record(folder, RunRecord("done", taken, "orex", {}, 0, "cpu", request, {}))


CSL = """CSLC
2 2
1 4 1 0 0 1 0
-1 -1 0
1 -1 0
1 1 0
-1 1 0
4 1 0 1 2 3
2 0 0 0 0 1 -1
"""


def test_run_folder_gives_objects_with_labels_frame_and_input(tmp_path):
    (tmp_path / "in.csl").write_text(CSL)
    two_label_run(tmp_path / "run", tmp_path / "in.csl")
    content = load(tmp_path / "run")
    assert content.scene.labels == (BONE, LUNG)
    assert list(content.scene.objects) == ["bone", "left lung"]
    assert (content.unit, content.up) == ("mm", (0.0, -1.0, 0.0))
    assert content.bounds() == pytest.approx(np.array([[-1.0, -1, -1], [1, 1, 1]]))
    assert content.input is not None
    assert len(content.input.planes) == 2
    assert content.notes == ()


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text(CSL.replace("-1 -1 0", "-2 -2 0"))])
def test_run_folder_whose_input_is_gone_or_changed_is_shown_with_a_note(tmp_path, change):
    (tmp_path / "in.csl").write_text(CSL)
    two_label_run(tmp_path / "run", tmp_path / "in.csl")
    change(tmp_path / "in.csl")
    content = load(tmp_path / "run")
    assert len(content.meshes) == 2
    assert content.input is None
    assert content.notes == ("the input is gone or has changed and is not shown",)


def test_scene_folder_without_a_record_is_shown_with_a_note(tmp_path):
    write_scene_folder(Scene(mesh=trimesh.creation.box((1, 2, 3)), frame=Frame(unit="m")), tmp_path / "scene")
    content = load(tmp_path)
    assert len(content.meshes) == 1
    assert content.unit == "m"
    assert "run.json" in content.notes[0]


def without_scene(folder: Path) -> None:
    (folder.parent / "in.csl").write_text(CSL)
    two_label_run(folder, folder.parent / "in.csl")
    shutil.rmtree(folder / "scene")


def with_damaged_mesh(folder: Path) -> None:
    (folder.parent / "in.csl").write_text(CSL)
    two_label_run(folder, folder.parent / "in.csl")
    (folder / "scene" / "objects" / "bone.ply").write_bytes(b"ply\n")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: None, "there is no such file or folder"),
        (lambda folder: (folder / "scene").mkdir(parents=True), "holds neither mesh.ply nor splats.ply"),
        (without_scene, "no scene to show yet"),
        (with_damaged_mesh, "is no PLY file"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_sentence(tmp_path, make, sentence):
    make(tmp_path / "run")
    with pytest.raises(UserError, match=sentence) as error:
        load(tmp_path / "run")
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.fixture
def server():
    started = start_server("127.0.0.1", 0)
    yield started
    started.stop()


def test_a_taken_port_gives_way_to_the_next_and_nothing_is_printed(capfd):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        server = start_server("127.0.0.1", taken)
        port = server.get_port()
        server.stop()
    assert taken < port < taken + 50
    assert f"http://127.0.0.1:{port}" in directions("127.0.0.1", port)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_a_host_that_is_not_this_machine_is_refused(host):
    with pytest.raises(UserError, match=f"--host {host}"):
        start_server(host, 8080)


def test_directions_warn_when_exposed_and_give_the_tunnel_over_ssh(monkeypatch):
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert directions("127.0.0.1", 8123) == "Viewer: http://127.0.0.1:8123"
    assert "no password" in directions("0.0.0.0", 8123)
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.2 50222 192.0.2.10 2222")
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert "ssh -N -L 8123:127.0.0.1:8123 -p 2222 ada@192.0.2.10" in directions("127.0.0.1", 8123)


def test_a_foreign_page_is_refused_and_an_own_page_served(server):
    url, protocols = f"ws://127.0.0.1:{server.get_port()}", [f"viser-v{viser.__version__}"]
    with connect(url, subprotocols=protocols, origin="http://localhost:1234") as own:
        assert len(own.recv(timeout=30)) > 0
    with connect(url, subprotocols=protocols, origin="https://example.org") as foreign:
        with pytest.raises(ConnectionClosed):
            foreign.recv(timeout=30)


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_section_is_cut_at_the_users_coordinates(server):
    box = trimesh.creation.box((40, 20, 10))
    box.apply_translation([552_310.5, 5_241_120.25, 1210.125])
    page = open_page(server, Content("utm", Scene(mesh=box, frame=Frame(unit="m"))))
    assert np.abs(page.surfaces.meshes["/surfaces/0/shell"].vertices).max() <= 1.0
    page.section.axis.value = "y"
    page.section.sliders["y"].value = 5_241_118.0
    page.section.cut.value = True
    wait_until(lambda: "/surfaces/0/outline" in page.surfaces.lines)
    drawn = page.frame.to_user(page.surfaces.lines["/surfaces/0/outline"].points)
    assert drawn[..., 1] == pytest.approx(5_241_118.0, abs=1e-4)
    assert np.ptp(drawn[..., 0]) == pytest.approx(40, abs=1e-4)
    page.section.cut.value = False
    wait_until(lambda: list(page.surfaces.meshes) == ["/surfaces/0/shell"])
    assert not page.surfaces.lines


@pytest.mark.slow
def test_a_million_faces_load_and_are_cut(server, tmp_path):
    big = trimesh.creation.icosphere(8)
    assert len(big.faces) > 1_000_000
    write_scene(Scene(mesh=big), tmp_path / "big.ply")
    began = time.process_time()
    page = open_page(server, load(tmp_path / "big.ply"))
    loaded = time.process_time()
    page.section.cut.value = True
    wait_until(lambda: "/surfaces/0/outline" in page.surfaces.lines)
    cut = time.process_time()
    assert f"shown with {PREVIEW_FACES:,} faces" in page.facts.content
    assert loaded - began < 15.0
    assert cut - loaded < 1.0
    filling = page.surfaces.meshes["/surfaces/0/filling"]
    assert area(Triangles(filling.vertices, filling.faces)) == pytest.approx(np.pi, rel=1e-3)


def sections_of_a_box() -> CrossSections:
    planes = tuple(Plane(np.array([0, 0, z]), XY, (Ring(square(2), 1),)) for z in (-1.0, 0.0, 1.0))
    return CrossSections(labels=(BONE,), contours=planes, unit="mm")


def test_live_preview_takes_scenes_and_progress_at_once_and_shows_the_newest(capfd):
    live = LivePreview("box.csl", sections_of_a_box(), port=0)
    scenes = [Scene(objects={"bone": trimesh.creation.icosphere(7, r)}, labels=(BONE,)) for r in (0.5, 0.6, 0.7)]
    began = time.thread_time()
    for step, scene in enumerate(scenes):
        live.show_scene(scene)
        live.show_progress(Progress("fit", step, 3, {"distance": 1.0 / (step + 1)}, 2.0))
    assert time.thread_time() - began < 0.05
    wait_until(lambda: live.page.surfaces.meshes)
    shown = live.page.frame.to_user(live.page.surfaces.meshes["/surfaces/0/shell"].vertices)
    assert np.linalg.norm(shown, axis=1) == pytest.approx(0.7, abs=1e-3)
    live.finish(Content("box.csl", scenes[0], sections_of_a_box()))
    assert "watertight" in live.page.facts.content
    live.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert f"http://127.0.0.1:{live.port}" in err


def test_a_fault_of_the_live_preview_is_logged_and_stops_nobody(monkeypatch, caplog):
    live = LivePreview("box.csl", sections_of_a_box(), port=0)
    monkeypatch.setattr(live.page, "show", lambda surfaces: 1 / 0)
    live.show_scene(Scene(objects={"bone": trimesh.creation.box()}, labels=(BONE,)))
    wait_until(lambda: "The live preview stopped" in caplog.text)
    live.show_scene(Scene())
    live.show_progress(Progress("fit", 1, 2, {}, None))
    live.close()


def test_slices_are_drawn_as_outlines_and_sheets_and_cut_with_the_surfaces(server):
    page = open_page(server, Content("box.csl", Scene(), sections_of_a_box()))
    assert page.input is not None
    outlines = page.input.lines["/slices/1/outline"].points
    assert np.linalg.norm(np.diff(outlines, axis=1), axis=2).sum() == pytest.approx(3 * 4 * 2)
    page.input.sheets.value = True
    wait_until(lambda: "/slices/1/sheet" in page.input.meshes)
    sheet = page.input.meshes["/slices/1/sheet"]
    assert area(Triangles(sheet.vertices, sheet.faces)) == pytest.approx(3 * 4)
    page.section.sliders["z"].value = 0.5
    page.section.cut.value = True
    wait_until(lambda: len(page.input.lines["/slices/1/outline"].points) == 8)
    assert page.input.lines["/slices/1/outline"].points[..., 2].max() == pytest.approx(0.0)
