"""Poisson reconstruction, ball pivoting and the normals that both need, on solids that are known."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

from recon.errors import UserError
from recon.inputs import PointCloud
from recon.methods import method_named
from recon.methods.ball_pivoting import BallPivotingConfig, ball_pivoting
from recon.methods.poisson import PoissonConfig, poisson
from recon.methods.tangent_planes import oriented_normals, spacing
from recon.surface.facts import mesh_facts
from recon.training import Trainer

DRAFT = PoissonConfig(depth=6)


def sphere(count: int = 2000, radius: float = 1.0) -> np.ndarray:
    """The spiral of even steps: no two points much closer than others."""
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    ring = np.sqrt(1 - z**2)
    return radius * np.stack([ring * np.cos(angle), ring * np.sin(angle), z], 1)


def hemisphere() -> np.ndarray:
    points = sphere(4000)
    return points[points[:, 2] > 0]


def boundary_vertices(mesh: trimesh.Trimesh) -> np.ndarray:
    _, first, count = np.unique(mesh.edges_sorted, axis=0, return_index=True, return_counts=True)
    return np.asarray(mesh.vertices)[np.unique(mesh.edges_sorted[first[count == 1]])]


def test_spacing_is_the_side_of_a_points_own_square():
    x, y = np.meshgrid(np.arange(40.0), np.arange(40.0))
    grid = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1)
    random = np.random.default_rng(0).random((4000, 3)) * [1, 1, 0]
    assert spacing(3 * grid) == pytest.approx(3, rel=0.2)
    assert spacing(random) == pytest.approx(4000**-0.5, rel=0.1)


def test_normals_agree_on_a_torus_and_on_each_of_two_parts():
    torus = trimesh.creation.torus(1.0, 0.4, major_sections=80, minor_sections=40)
    low, high = (np.asarray(torus.vertices) + [0, 0, z] for z in (0.0, 5.0))
    normals = oriented_normals(np.concatenate([low, high]))
    cosines = (normals * np.tile(np.asarray(torus.vertex_normals), (2, 1))).sum(1)
    assert cosines.min() > 0.95


def test_poisson_closes_a_sphere_and_says_so():
    scene = poisson(PointCloud(sphere() * 250 + [5e5, 5e6, 0]), DRAFT, Trainer())
    mesh = scene.in_user_frame().mesh
    facts = mesh_facts(mesh)
    radii = np.linalg.norm(np.asarray(mesh.vertices) - [5e5, 5e6, 0], axis=1)
    assert facts.watertight and facts.euler_number == 2 and facts.volume > 0
    assert np.abs(radii / 250 - 1).max() < 0.01
    assert "taken as closed" in scene.notes[0]


def test_poisson_leaves_a_hemisphere_open():
    cloud = PointCloud(hemisphere())
    scene = poisson(cloud, DRAFT, Trainer())
    facts = mesh_facts(scene.mesh)
    assert (facts.boundary_loops, facts.components, facts.euler_number) == (1, 1, 1)
    rim = boundary_vertices(scene.in_user_frame().mesh)
    to_equator = np.hypot(np.linalg.norm(rim[:, :2], axis=1) - 1, rim[:, 2])
    assert to_equator.max() < 3 * spacing(cloud.points)
    assert "taken as open" in scene.notes[0]


def test_poisson_closes_a_bowl_when_told():
    points = sphere(4000)
    cloud = PointCloud(points[points[:, 2] < 0.7])
    told = poisson(cloud, PoissonConfig(depth=6, closed=True), Trainer())
    assert mesh_facts(told.mesh).watertight and "as asked for" in told.notes[0]
    assert not mesh_facts(poisson(cloud, DRAFT, Trainer()).mesh).watertight


def test_poisson_takes_the_files_normals():
    """Inward normals turn the sphere inside out."""
    points = sphere()
    mesh = poisson(PointCloud(points, (-points).astype(np.float32)), DRAFT, Trainer()).mesh
    assert mesh_facts(mesh).volume < 0


def test_ball_pivoting_joins_the_points_themselves():
    points = sphere(1500, 3.0)
    mesh = ball_pivoting(PointCloud(points), BallPivotingConfig(), Trainer()).in_user_frame().mesh
    assert len(mesh.vertices) == len(points)
    assert np.allclose(np.sort(mesh.vertices, 0), np.sort(points, 0))
    assert mesh.area == pytest.approx(4 * np.pi * 9, rel=0.01)
    assert mesh_facts(mesh).non_manifold_edges == 0


def test_ball_pivoting_ends_where_the_points_end():
    mesh = ball_pivoting(PointCloud(hemisphere()), BallPivotingConfig(), Trainer()).in_user_frame().mesh
    assert mesh.area == pytest.approx(2 * np.pi, rel=0.03)
    assert np.asarray(mesh.vertices)[:, 2].min() > 0


def test_colors_are_carried_to_the_vertices():
    points = sphere(500)
    colors = np.where(points[:, 2:] > 0, [250, 0, 0], [0, 0, 250]).astype(np.uint8)
    cloud = PointCloud(points * 30 + 1000, colors=colors)
    for scene in (poisson(cloud, DRAFT, Trainer()), ball_pivoting(cloud, BallPivotingConfig(), Trainer())):
        mesh = scene.in_user_frame().mesh
        height = (np.asarray(mesh.vertices)[:, 2] - 1000) / 30
        assert (mesh.visual.vertex_colors[height > 0.2, :3] == [250, 0, 0]).all()
        assert (mesh.visual.vertex_colors[height < -0.2, :3] == [0, 0, 250]).all()


@pytest.mark.parametrize("method", ["poisson", "ball-pivoting"])
def test_a_finished_stage_is_taken_up_again(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch):
    run = {
        "poisson": lambda: poisson(PointCloud(hemisphere()), DRAFT, Trainer(tmp_path)),
        "ball-pivoting": lambda: ball_pivoting(PointCloud(hemisphere()), BallPivotingConfig(), Trainer(tmp_path)),
    }[method]
    before = run().mesh
    monkeypatch.setattr("recon.methods.poisson.open3d_cloud", None)
    monkeypatch.setattr("recon.methods.ball_pivoting.open3d_cloud", None)
    after = run().mesh
    assert np.array_equal(before.vertices, after.vertices) and np.array_equal(before.faces, after.faces)


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (np.eye(3), "3 distinct points"),
        (np.repeat(np.eye(3), 50, 0), "3 distinct points"),
        (np.outer(np.arange(50.0), [1, 2, 3]) + 7, "on one line"),
    ],
)
def test_clouds_without_a_surface_are_refused(points: np.ndarray, sentence: str):
    for run in (
        lambda cloud: poisson(cloud, DRAFT, Trainer()),
        lambda cloud: ball_pivoting(cloud, BallPivotingConfig(), Trainer()),
    ):
        with pytest.raises(UserError, match=sentence):
            run(PointCloud(points))


def test_contradicting_options_are_refused():
    with pytest.raises(UserError, match="--closed and --open"):
        poisson(PointCloud(sphere(100)), PoissonConfig(closed=True, open=True), Trainer())
    with pytest.raises(UserError, match="--radii"):
        ball_pivoting(PointCloud(sphere(100)), BallPivotingConfig(radii=()), Trainer())


@pytest.mark.parametrize("name", ["poisson", "ball-pivoting"])
def test_the_cost_that_is_told_beforehand_is_that_of_a_measurement(name: str):
    """Within a factor of three either way, whatever the machine does beside."""
    method = method_named(name)
    function, config = method.load()
    cloud = PointCloud(sphere(10_000))
    function(PointCloud(sphere(500)), config.at("standard"), Trainer())  # loads and compiles
    start = time.process_time()
    function(cloud, config.at("standard"), Trainer())
    seconds = time.process_time() - start
    cost = method.cost(cloud, config.at("standard"), "cpu")
    assert seconds / 3 < cost.seconds < 3 * seconds
    assert 300 < cost.megabytes < 500
    assert method.cost(PointCloud(sphere(20_000)), config.at("standard"), "cpu").seconds > cost.seconds
