"""The report of a run from points: distances of known geometry, boundary loops, and what its pictures show."""

import re

import msgspec
import numpy as np
import pytest
import trimesh
from test_report import Page

from app.kinds import kind_of
from app.report import write_report
from app.report_pictures import Viewpoint
from app.report_points import LOOP_COLOR, PointEvidence
from recon.inputs import PointCloud
from recon.scene import Frame, Scene
from recon.surface.facts import mesh_facts
from render.cameras import framing

FAR = np.array([552_000.0, 5_241_000.0, 300.0])


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """A sixth of the usual pixels."""
    monkeypatch.setattr("app.report_pictures.PIXELS", 200 * 160)


def ball_with_points(distance: float, above: bool = False) -> tuple[Scene, PointCloud]:
    """A ball of radius 20 on a map and 5,000 red points so far over it; of both only the upper half if asked."""
    ball = trimesh.creation.icosphere(subdivisions=5, radius=20.0)
    points = np.random.default_rng(0).normal(size=(5000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    if above:
        ball = ball.slice_plane((0, 0, 0), (0, 0, 1))
        ball.merge_vertices()
        points[:, 2] = np.abs(points[:, 2])
    ball.apply_translation(FAR)
    colors = np.tile(np.array([200, 30, 30], np.uint8), (5000, 1))
    cloud = PointCloud(FAR + (20 + distance) * points, colors=colors, unit="m", notes=("A note of the file.",))
    return Scene(mesh=ball, frame=Frame(unit="m"), notes=("taken as such",)), cloud


def page_of(folder, scene: Scene, cloud: PointCloud) -> Page:
    assert scene.mesh is not None
    metrics = {
        **kind_of(cloud).metrics(scene, cloud),
        "objects": {"mesh": msgspec.to_builtins(mesh_facts(scene.mesh))},
    }
    run = {
        "input": {"paths": ["dome.laz"]},
        "method": "sheets",
        "metrics": metrics,
        "warnings": [*cloud.notes, *scene.notes],
    }
    return Page(write_report(folder, run, scene, cloud))


def test_distances_are_those_of_the_geometry(tmp_path):
    scene, cloud = ball_with_points(0.5)
    distances = PointEvidence(scene, cloud).distances
    assert distances.mean() == pytest.approx(0.5, abs=0.01) and distances.quantile(1.0) == pytest.approx(0.5, abs=0.03)
    page = page_of(tmp_path, scene, cloud)
    assert f"{distances.mean():.3g} m on average" in page.text
    percent = 100 * 0.5 / np.linalg.norm(np.ptp(cloud.points, axis=0))
    assert metrics_of(scene, cloud)["percent"]["mean"] == pytest.approx(percent, rel=0.02)


def metrics_of(scene: Scene, cloud: PointCloud) -> dict:
    return kind_of(cloud).metrics(scene, cloud)["point_distance"]


def test_a_closed_result_is_said_to_be_closed(tmp_path):
    page = page_of(tmp_path, *ball_with_points(0.1))
    assert "The result is closed" in page.text and "taken as such" in page.text and "A note of the file." in page.text
    assert len(page.images()) == 9


def test_an_open_result_shows_its_rim(tmp_path):
    scene, cloud = ball_with_points(0.1, above=True)
    page = page_of(tmp_path, scene, cloud)
    said = re.search(r"The result is open: 1 boundary loop, ([0-9.]+) m long\.", page.text)
    assert said is not None and float(said[1]) == pytest.approx(2 * np.pi * 20, rel=2e-3)
    images = page.images()
    assert len(images) == 13
    for image in images[9:]:
        near = np.abs(image.astype(float) - 255 * np.array(LOOP_COLOR)).max(-1) < 60
        assert near.sum() > 50


def test_points_are_shown_in_their_own_colours_and_their_distances_over_the_surface():
    scene, cloud = ball_with_points(0.5)
    evidence = PointEvidence(scene, cloud)
    camera = framing(cloud.points, (1, -2, 1), size=(200, 160))
    ((image,), caption) = evidence.pictures([Viewpoint(camera, "here")])
    assert "5,000 points" in caption
    u, v = camera.project(FAR[None])[0][0].astype(int)
    assert image[v, u, 0] > 2 * image[v, u, 2]
    colored = evidence.distance_picture(camera)
    red = (colored[..., 0] > 0.7) & (colored[..., 2] < 0.4)  # half a metre is at the end of the scale
    assert red.mean() > 0.05
