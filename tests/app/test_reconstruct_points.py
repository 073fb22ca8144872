"""Points through the command line: a half ball, whose surface, boundary and colours are known, from file to export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from test_reconstruct import relief

from recon.formats.options import PointOptions
from recon.formats.ply_points import read, write_points
from recon.inputs import PointCloud

RADIUS, MIDDLE = 10.0, np.array([552_000.0, 5_241_000.0, 300.0])  # metres on a map


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The run folder of 4,000 points of the half ball, coloured by their height."""
    folder = tmp_path_factory.mktemp("points")
    rng = np.random.default_rng(3)
    height, turn = rng.uniform(0, 1, 4000), rng.uniform(0, 2 * np.pi, 4000)
    level = np.sqrt(1 - height**2)
    points = np.stack([level * np.cos(turn), level * np.sin(turn), height], axis=1)
    colors = np.rint(np.stack([255 * height, np.full(4000, 90.0), 255 * (1 - height)], axis=1)).astype(np.uint8)
    write_points(PointCloud(MIDDLE + RADIUS * points, colors=colors, unit="m"), folder / "dome.ply")
    (folder / "said.txt").write_text(relief("reconstruct", "dome.ply", cwd=folder).stdout)
    return folder / "runs" / "dome-sheets"


def test_the_record_tells_how_far_the_points_lie_from_the_mesh(run: Path):
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "done" and record["method"] == "sheets"
    assert record["input"]["options"]["of"] == "points"
    distance = record["metrics"]["point_distance"]
    mesh = trimesh.load_mesh(run / "scene" / "mesh.ply")
    cloud = read(run.parents[1] / "dome.ply", PointOptions())
    _, truth, _ = trimesh.proximity.closest_point_naive(_near_origin(mesh), cloud.points[:200] - MIDDLE)
    assert distance["diagonal"] == pytest.approx(np.linalg.norm(np.ptp(cloud.points, axis=0)))
    assert distance["mean"] == pytest.approx(truth.mean(), rel=0.3)
    assert distance["mean"] <= distance["quantile_95"] <= distance["greatest"] < 0.5
    assert distance["percent"]["mean"] == pytest.approx(100 * distance["mean"] / distance["diagonal"])


def test_the_half_ball_is_open_at_its_rim(run: Path):
    facts = json.loads((run / "run.json").read_text())["metrics"]["objects"]["mesh"]
    assert facts["boundary_loops"] == 1 and facts["components"] == 1 and not facts["watertight"]
    assert facts["boundary_lengths"] == pytest.approx([2 * np.pi * RADIUS], rel=0.15)
    said = (run.parents[1] / "said.txt").read_text()
    assert "1 boundary loop, " in said and " m long" in said and "m from the mesh on average" in said


def test_the_mesh_stands_on_the_map(run: Path):
    mesh = trimesh.load_mesh(run / "scene" / "mesh.ply")
    np.testing.assert_allclose(mesh.bounds - MIDDLE, [[-10, -10, 0], [10, 10, 10]], atol=0.5)
    assert np.abs(np.linalg.norm(mesh.vertices - MIDDLE, axis=1) - RADIUS).max() < 0.2


def test_the_report_says_that_it_is_open(run: Path):
    page = (run / "report.html").read_text()
    assert "The result is open: 1 boundary loop" in page and "4,000 points from the same sides" in page


def test_exports_stand_on_the_map_in_the_points_colours(run: Path, tmp_path: Path):
    textured = ("--texture", 256, "--out", tmp_path / "dome.glb")
    glb = relief("export", run, "--to", "glb", *textured, cwd=run.parents[1])
    assert glb.stdout.strip().endswith("dome.glb")
    scene = trimesh.load_scene(tmp_path / "dome.glb")
    (name,) = scene.graph.nodes_geometry
    matrix, mesh = scene.graph[name][0], scene.geometry[scene.graph[name][1]]
    east, up, south = trimesh.transform_points(mesh.bounds, matrix).T  # Y-up
    assert sorted((east.mean(), up.mean(), -south.mean())) == pytest.approx(sorted(MIDDLE + [0, 0, 5]), abs=0.5)
    image = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")).astype(float)
    column, row = (mesh.visual.uv * (1, -1) * 256 + (0, 256)).astype(int).clip(0, 255).T
    height = 1 + (mesh.vertices[:, 2] - mesh.vertices[:, 2].max()) / RADIUS
    np.testing.assert_allclose(image[row, column, 0], 255 * np.clip(height, 0, 1), atol=16)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dome.ply", "--method", "morphing"], "takes slices, and dome.ply holds points; choose one of: auto, "),
        (["dome.ply", "--crop=0,0,0,1,1,1"], "--crop"),
        (["dome.ply", "--keep-every", "2"], "keep-every"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(run: Path, arguments: list[str], said: str):
    folder = run.parents[1]
    refused = relief("reconstruct", *arguments, "--out", folder / "wrong", cwd=folder, expect=2)
    assert said in refused.stderr and not (folder / "wrong").exists()


def test_inspect_takes_the_options_of_points(run: Path):
    folder = run.parents[1]
    described = json.loads(relief("inspect", "dome.ply", "--thin", 2, "--json", cwd=folder).stdout)
    assert 50 < described["points"] < 400


def _near_origin(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices - MIDDLE, mesh.faces, process=False)
