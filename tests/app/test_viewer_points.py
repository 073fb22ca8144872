"""Points on the viewer's page, from the server's side: colours, sections, limits, and the options that are tried."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from test_viewer import server, wait_until  # noqa: F401 - a fixture
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from app.viewer import Content, LivePreview, load
from app.viewer.measure import first_point
from app.viewer.serving import open_page
from recon.formats import PointOptions, read
from recon.formats.meshes import read_scene
from recon.formats.ply_points import write_points
from recon.inputs import PointCloud
from recon.scene import Frame, Scene

MIDDLE = np.array([552_000.0, 5_241_000.0, 300.0])
BLUE, RED = (41, 115, 178), (214, 48, 38)  # the ends of the scale


@pytest.fixture
def cloud() -> PointCloud:
    """2,000 points on a ball of radius 10 and 2,000 two metres above it."""
    directions = np.random.default_rng(0).normal(size=(2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return PointCloud(np.concatenate([10 * directions, 12 * directions]) + MIDDLE, unit="m")


def ball() -> Scene:
    mesh = trimesh.creation.icosphere(5, 10.0)
    mesh.apply_translation(MIDDLE)
    return Scene(mesh=mesh, frame=Frame(unit="m"))


def test_colours_are_distances_from_the_surface_in_the_users_unit(server, cloud):  # noqa: F811
    page = open_page(server, Content("ball", ball(), cloud))
    assert page.input.choice.value == "distance"
    page.input.scale_end.value = 2.0
    wait_until(lambda: tuple(page.input.points["/points"].colors[-1]) == RED)
    colors = page.input.points["/points"].colors.astype(int)
    assert np.abs(colors[:2000] - BLUE).max() < 12 and np.abs(colors[2000:] - RED).max() < 12
    assert "2 m and more" in page.input._legend.content
    assert np.abs(page.input.points["/points"].points).max() <= 1.0  # near the origin: float32 suffices


def test_a_section_takes_the_points_beyond_it_away(server, cloud):  # noqa: F811
    page = open_page(server, Content("ball", Scene(), cloud))
    page.section.axis.value = "x"
    page.section.sliders["x"].value = 552_003.0
    page.section.cut.value = True
    wait_until(lambda: len(page.input.points["/points"].points) < 4000)
    drawn = page.frame.to_user(page.input.points["/points"].points)
    assert len(drawn) == (cloud.points[:, 0] < 552_003.0).sum() or len(drawn) == (cloud.points[:, 0] > 552_003.0).sum()
    kept = drawn[:, 0] - 552_003.0
    assert (kept < 1e-3).all() or (kept > -1e-3).all()


def test_points_stand_beside_the_surface_or_are_hidden(server, cloud):  # noqa: F811
    page = open_page(server, Content("ball", ball(), cloud))
    page.input.place.value = "beside it"
    wait_until(lambda: np.linalg.norm(page.input.points["/points"].position) > 1.9)
    page.input.place.value = "hidden"
    wait_until(lambda: not page.input.points)
    assert page.input.touchable_points() is None


def test_the_browser_gets_a_sample_of_many_points_and_the_page_says_so(server, cloud, monkeypatch):  # noqa: F811
    monkeypatch.setattr("app.viewer.points.MOST_SHOWN", 1000)
    page = open_page(server, Content("ball", Scene(), cloud))
    assert len(page.input.points["/points"].points) == 1000
    assert "4,000 points, 1,000 of them shown" in page.input._said.content


def test_what_the_sliders_choose_is_what_the_flags_read(server, cloud, tmp_path):  # noqa: F811
    write_points(cloud, tmp_path / "ball.ply")
    page = open_page(server, load(tmp_path / "ball.ply"))
    tried = page.input._preparation
    tried.thin.value = 1.5
    tried.box[2].value = (295.0, tried.box[2].max)
    wait_until(lambda: "--crop=" in tried.said.content and "--thin=1.5" in tried.said.content)
    wait_until(lambda: len(page.input.points["/points"].points) < 2000)
    options = tried.options()
    taken = read(tmp_path / "ball.ply", PointOptions(crop=options.crop, thin=options.thin))
    wait_until(lambda: f"{len(taken.points):,} of 4,000 points are taken" in tried.said.content)
    drawn = page.frame.to_user(page.input.points["/points"].points)
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(taken.points, axis=0), atol=1e-4)
    assert drawn[:, 2].min() > 295.0


def test_too_much_taken_away_is_one_sentence_on_the_page(server, cloud, tmp_path):  # noqa: F811
    write_points(cloud, tmp_path / "ball.ply")
    page = open_page(server, load(tmp_path / "ball.ply"))
    tried = page.input._preparation
    for box in tried.box:
        box.value = (box.min, box.min)
    wait_until(lambda: "--crop" in tried.said.content.splitlines()[0])
    assert "points are taken" not in tried.said.content


def test_a_mesh_is_shown_in_its_own_colours_also_where_it_is_cut(server, tmp_path):  # noqa: F811
    """A sheet from black at x = 0 to white at x = 2, cut in the middle: its new edge is half as bright in bytes."""
    corners = np.array([[0.0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]])
    colors = np.array([[0] * 3, [255] * 3, [255] * 3, [0] * 3], np.uint8)
    sheet = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], vertex_colors=colors, process=False)
    page = open_page(server, Content("sheet", Scene(mesh=sheet)))
    assert "/surfaces/0/shell" in page.surfaces.colored and page.surfaces.own_colors.visible
    assert page.surfaces.boundaries.visible and len(page.surfaces.lines["/surfaces/0/boundary"].points) == 4
    page.section.axis.value = "x"
    page.section.sliders["x"].value = 1.0
    page.section.cut.value = True
    wait_until(lambda: "/surfaces/0/outline" in page.surfaces.lines)
    assert "/surfaces/0/filling" not in page.surfaces.meshes
    (tmp_path / "shell.glb").write_bytes(page.surfaces.colored["/surfaces/0/shell"].glb_data)
    shell = read_scene(tmp_path / "shell.glb").mesh
    edge = np.abs(page.frame.to_user(shell.vertices)[:, 0] - 1.0) < 1e-6
    assert edge.any() and shell.visual.vertex_colors[edge, 0] == pytest.approx(128, abs=1)
    page.surfaces.own_colors.value = False
    wait_until(lambda: "/surfaces/0/shell" in page.surfaces.meshes)
    assert not page.surfaces.colored


def test_a_texture_is_shown_and_its_seams_open_nothing(server, tmp_path):  # noqa: F811
    """A sheet of two squares, as trimesh writes it: the left one shows the right half of the picture, from 128 to 255,
    the right one the left half."""
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    uv = np.array([[0.5, 0], [1, 0], [1, 1], [0.5, 1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (4, 256, 3))
    material = PBRMaterial(baseColorTexture=Image.fromarray(np.ascontiguousarray(ramp)))
    visual = TextureVisuals(uv=np.concatenate([uv, uv - (0.5, 0)]), material=material)
    vertices = np.concatenate([corners, corners + (1, 0, 0)])
    sheet = trimesh.Trimesh(vertices, np.concatenate([faces, faces + 4]), visual=visual, process=False)
    sheet.export(tmp_path / "sheet.glb")

    def shown() -> tuple[np.ndarray, np.ndarray]:
        """Where the vertices of what the browser gets lie along the sheet, and how bright the texture is there."""
        (tmp_path / "shell.glb").write_bytes(page.surfaces.colored["/surfaces/0/shell"].glb_data)
        (mesh,) = trimesh.load_scene(tmp_path / "shell.glb").geometry.values()
        pixels = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
        along = page.frame.to_user(np.asarray(mesh.vertices))[:, 0]
        return along, pixels[0, (mesh.visual.uv[:, 0] * 256).astype(int).clip(0, 255), 0]

    page = open_page(server, load(tmp_path / "sheet.glb"))
    assert "6 vertices, 4 faces" in page.facts.content and "1 boundary loop" in page.facts.content
    along, bright = shown()
    assert len(along) == 8 and sorted(bright[np.isclose(along, 1)]) == [0, 0, 255, 255]
    page.section.axis.value = "x"
    page.section.sliders["x"].value = 0.5
    page.section.cut.value = True
    wait_until(lambda: "/surfaces/0/outline" in page.surfaces.lines)
    along, bright = shown()
    assert bright[np.isclose(along, 0.5)] == pytest.approx(192, abs=1)


def test_a_click_meets_the_nearest_point_on_its_way():
    points = np.array([[0.0, 0, 5], [0.01, 0, 3], [1, 0, 2], [0, 0, -1]])
    assert first_point(np.zeros(3), np.array([0.0, 0, 2]), points).tolist() == [0.01, 0, 3]
    assert first_point(np.zeros(3), np.array([0.0, 1, 0]), points) is None


def test_a_mesh_file_is_shown_as_a_mesh_and_points_as_points(tmp_path: Path, cloud):
    trimesh.creation.box().export(tmp_path / "mesh.ply")
    write_points(cloud, tmp_path / "points.ply")
    mesh, points = load(tmp_path / "mesh.ply"), load(tmp_path / "points.ply")
    assert len(mesh.meshes) == 1 and mesh.input is None
    assert not points.meshes and isinstance(points.input, PointCloud) and points.reading == PointOptions()


def test_a_live_page_shows_the_points_at_once_and_colours_them_when_there_is_a_surface(cloud):
    live = LivePreview("ball.ply", cloud, port=0)
    assert live.page.input.choice.value != "distance" and len(live.page.input.points["/points"].points) == 4000
    live.show_scene(ball())
    wait_until(lambda: live.page.input.choice.value == "distance")
    live.finish(Content("ball.ply", ball(), cloud))
    live.close()
