"""The default method for points against surfaces of known shape: topology, boundary and distance."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from recon.errors import UserError
from recon.formats.meshes import whole
from recon.inputs import PointCloud
from recon.methods import method_named
from recon.surface.boundary import boundary_of
from recon.surface.deviation import point_distances
from recon.surface.topology import Topology
from recon.training import Trainer
from tests import clouds
from tests.clouds import Shape, turned, uneven

COUNT = 4_000

OPEN = [clouds.disc(), clouds.hemisphere(), clouds.cylinder(), clouds.moebius_band()]
CLOSED = [clouds.sphere(), clouds.torus()]


def by_name(shape: Shape) -> str:
    return shape.name


def reconstructed(points: np.ndarray) -> trimesh.Trimesh:
    """The mesh at standard quality, in the points' coordinates."""
    function, config = method_named("sheets").load()
    return whole(function(PointCloud(points), config.at("standard"), Trainer()))


def assert_topology(mesh: trimesh.Trimesh, shape: Shape) -> None:
    """Parts, loops, Euler number, closedness and orientation are the shape's, and no edge has a third face."""
    topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
    found = (topology.parts, topology.boundary_loops, topology.euler_number, topology.non_manifold_edges)
    assert found == (shape.components, shape.loops, shape.euler_number, 0), "parts, loops, Euler, non-manifold edges"
    assert topology.is_watertight == (shape.loops == 0)
    assert topology.is_consistently_oriented == shape.orientable


def assert_near(mesh: trimesh.Trimesh, shape: Shape, spacing: float, mean: float = 0.1, most: float = 1.5) -> None:
    """Mean distances both ways and the farthest point of the mesh, in spacings."""
    samples = np.asarray(trimesh.sample.sample_surface(mesh, 20_000, seed=0)[0])
    assert shape.distance(samples).mean() < mean * spacing
    assert shape.distance(samples).max() < most * spacing
    to_mesh = point_distances(mesh, shape.cloud(5_000, seed=99))
    assert to_mesh.mean() < 1.5 * mean * spacing
    assert to_mesh.max() < 2 * most * spacing


@pytest.mark.parametrize("shape", [*OPEN, *map(turned, OPEN)], ids=by_name)
def test_open_shapes(shape):
    mesh = reconstructed(shape.cloud(COUNT))
    assert_topology(mesh, shape)
    assert_near(mesh, shape, shape.spacing(COUNT))
    assert boundary_of(mesh).lengths.sum() == pytest.approx(shape.boundary_length, rel=0.08)


@pytest.mark.parametrize("shape", [*CLOSED, *map(turned, CLOSED)], ids=by_name)
def test_closed_shapes_come_out_watertight(shape):
    mesh = reconstructed(shape.cloud(COUNT))
    assert_topology(mesh, shape)
    assert_near(mesh, shape, shape.spacing(COUNT))
    assert mesh.volume > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("shape", [*OPEN, *CLOSED, clouds.cube(), clouds.nested_hemispheres(0.2)], ids=by_name)
def test_five_hundred_points_tell_open_from_closed(shape, seed):
    mesh = reconstructed(shape.cloud(500, seed))
    topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
    assert topology.is_watertight == (shape.loops == 0)
    assert topology.non_manifold_edges == 0


@pytest.mark.parametrize("shape", [clouds.cube(), turned(clouds.cube())], ids=by_name)
def test_sharp_edges_stay_closed(shape):
    assert_topology(reconstructed(shape.cloud(COUNT)), shape)


def test_edges_are_not_rounded():
    cube, along = clouds.cube(), np.linspace(-0.95, 0.95, 200)
    edges = [np.c_[along, np.full(200, a), np.full(200, b)] for a in (-1, 1) for b in (-1, 1)]
    edges = np.concatenate([np.roll(edge, axis, 1) for edge in edges for axis in range(3)])
    assert point_distances(reconstructed(cube.cloud(COUNT)), edges).mean() < 0.12 * cube.spacing(COUNT)


@pytest.mark.parametrize("shape", [clouds.disc(), clouds.cylinder(), clouds.sphere(), clouds.torus()], ids=by_name)
def test_noise(shape):
    """Half a percent of the diagonal."""
    points = shape.cloud(COUNT, noise=0.005 * np.linalg.norm(np.ptp(shape.cloud(1_000), axis=0)))
    mesh = reconstructed(points)
    assert_topology(mesh, shape)
    assert_near(mesh, shape, shape.spacing(COUNT), mean=0.15)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_holes_of_ten_spacings_are_kept_and_random_gaps_filled(seed):
    disc = clouds.disc()
    points = disc.cloud(COUNT, seed)
    centers = 0.5 * np.array([[1, 0], [-0.5, 0.8], [-0.5, -0.8]])
    radius = 5 * disc.spacing(COUNT)
    near = np.linalg.norm(points[:, None, :2] - centers, axis=2).min(1)
    mesh = reconstructed(points[near > radius])
    assert sorted(boundary_of(mesh).lengths) == pytest.approx(3 * [2 * np.pi * radius] + [2 * np.pi], rel=0.2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_holes_seven_spacings_wide_are_kept_in_noise_of_more_than_a_spacing(seed):
    rng, count = np.random.default_rng(seed), 15_000
    spacing = 2 / np.sqrt(count)  # of points in a square of side 2
    radius, noise = 3.6 * spacing, 1.2 * spacing
    centers = 0.25 * np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-2, -1, 0, 1, 2]), -1).reshape(-1, 2)
    flat = rng.uniform(-1, 1, (count, 2))
    flat = flat[(np.linalg.norm(flat[:, None] - centers, axis=-1) > radius).all(1)]
    points = np.c_[flat, np.zeros(len(flat))] + noise * rng.standard_normal((len(flat), 3))
    middles = np.array([loop.mean(axis=(0, 1))[:2] for loop in boundary_of(reconstructed(points)).loops[1:]])
    at = np.linalg.norm(middles[:, None] - centers, axis=-1) < 0.6 * radius
    assert at.any(0).sum() >= 20, f"{at.any(0).sum()} of 25 holes"
    assert (~at.any(1)).sum() <= 2, "loops where there is no hole, or around two holes"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_tail_thinner_than_the_noise_is_closed_and_the_rim_of_its_dome_stays_open(seed):
    rng, count, radius, length = np.random.default_rng(seed), 6_000, 0.6, 0.8
    spacing = radius * np.sqrt(2 * np.pi / count)
    thickness = 3 * spacing
    dome = clouds.hemisphere().draw(rng, count) * radius
    turn = rng.uniform(0, 2 * np.pi, rng.poisson(np.pi * thickness * length / spacing**2))
    along = rng.uniform(radius, radius + length, len(turn))
    tail = np.c_[thickness / 2 * np.cos(turn), thickness / 2 * np.sin(turn), along]
    points = np.concatenate([dome[np.hypot(*dome.T[:2]) > thickness / 2], tail])
    loops = boundary_of(reconstructed(points + spacing * rng.standard_normal(points.shape))).loops
    assert len(loops) == 1
    assert np.abs(loops[0][..., 2]).max() < 4 * spacing


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_open_ring_in_much_noise_stays_beside_a_closed_ball(seed):
    """A flat ring ten spacings wide, like Saturn's, in noise of 1.5 spacings: a surface with an inside passes it by."""
    rng, spacing = np.random.default_rng(seed), clouds.sphere().spacing(6_000)
    inner, outer = 1.4, 1.4 + 10 * spacing
    count = rng.poisson(np.pi * (outer**2 - inner**2) / spacing**2)
    radius, turn = np.sqrt(rng.uniform(inner**2, outer**2, count)), rng.uniform(0, 2 * np.pi, count)
    ring = np.c_[radius * np.cos(turn), radius * np.sin(turn), np.zeros(count)]
    points = np.concatenate([clouds.sphere().draw(rng, 6_000), ring])
    mesh = reconstructed(points + 1.5 * spacing * rng.standard_normal(points.shape))
    ball, flat = sorted(mesh.split(only_watertight=False), key=lambda part: np.ptp(part.vertices[:, 2]), reverse=True)
    assert ball.is_watertight
    rims = sorted(np.linalg.norm(loop, axis=2).mean() for loop in boundary_of(flat).loops)
    assert rims == pytest.approx([inner, outer], abs=2 * spacing)


def side_by_side(gap: float) -> list[Shape]:
    """Pairs of sheets so many spacings apart."""
    flat = clouds.parallel_sheets(gap * clouds.parallel_sheets(1.0).spacing(COUNT))
    return [flat, turned(flat), clouds.nested_hemispheres(gap * clouds.sphere().spacing(COUNT))]


@pytest.mark.parametrize("shape", [shape for gap in (1.5, 2.0, 3.0, 6.0) for shape in side_by_side(gap)], ids=by_name)
def test_sheets_side_by_side_are_two(shape):
    mesh = reconstructed(shape.cloud(COUNT))
    assert_topology(mesh, shape)
    assert_near(mesh, shape, shape.spacing(COUNT), mean=0.03)
    assert boundary_of(mesh).lengths.sum() == pytest.approx(shape.boundary_length, rel=0.05)


@pytest.mark.parametrize("shape", side_by_side(1.0), ids=by_name)
def test_between_sheets_one_spacing_apart_there_is_hardly_anything(shape):
    """A sheet between the two would be half a spacing from both; where they end a wall may join them."""
    mesh = reconstructed(shape.cloud(COUNT))
    spacing = shape.spacing(COUNT)
    assert Topology(np.asarray(mesh.faces), len(mesh.vertices)).non_manifold_edges == 0
    distance = shape.distance(np.asarray(trimesh.sample.sample_surface(mesh, 20_000, seed=0)[0]))
    assert distance.mean() < 0.1 * spacing
    assert distance.max() < spacing
    assert point_distances(mesh, shape.cloud(5_000, seed=99)).mean() < 0.03 * spacing


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_three_sheets_that_meet_in_a_line_hang_together(seed):
    """No edge has three faces, and beside the line the mesh is nowhere more than a spacing away."""
    shape = clouds.junction()
    mesh = reconstructed(shape.cloud(COUNT, seed))
    topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
    assert (topology.parts, topology.non_manifold_edges) == (1, 0)
    spacing = shape.spacing(COUNT)
    assert_near(mesh, shape, spacing, mean=0.03)
    line = np.c_[np.zeros(200), np.linspace(0.03, 0.97, 200), np.zeros(200)]
    beside = [line + np.multiply(spacing, way) for way in ([0, 0, 0], [0.5, 0, 0], [-0.5, 0, 0], [0, 0, -0.5])]
    assert point_distances(mesh, np.concatenate(beside)).max() < spacing


@pytest.mark.parametrize("off_line", [0.0, 0.05])
@pytest.mark.parametrize("apart", [0.3, 0.15, 0.05])
@pytest.mark.parametrize("in_between", [None, 1.0])
def test_scan_lines_far_apart_are_one_sheet(apart, in_between, off_line):
    """Lines of a tilted square, as far from each other as 1; along them points are `apart`, and in the middle third as
    far as `in_between`."""
    rng = np.random.default_rng(0)
    lines = []
    for x in np.arange(40.0):
        y = np.arange(0.0, 40.0, apart) + apart * rng.random()
        if in_between:
            middle = np.abs(y - 20) < 20 / 3
            y = np.concatenate([y[~middle], np.arange(40 / 3, 80 / 3, in_between) + 0.3 * rng.random()])
        y += 0.2 * apart * rng.standard_normal(len(y))
        lines.append(np.stack([x + off_line * rng.standard_normal(len(y)), y, np.full_like(y, 0.2 * x)], 1))
    mesh = reconstructed(np.concatenate(lines))
    topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
    assert (topology.parts, topology.boundary_loops, topology.euler_number) == (1, 1, 1)
    assert mesh.area == pytest.approx(40 * 40 * np.hypot(1, 0.2), rel=0.1)


@pytest.mark.parametrize("shape", [uneven(clouds.sphere()), uneven(clouds.disc()), uneven(clouds.torus())], ids=by_name)
def test_density_varying_twenty_to_one(shape):
    mesh = reconstructed(shape.cloud(2 * COUNT))
    assert_topology(mesh, shape)
    assert_near(mesh, shape, shape.spacing(COUNT), most=3.0)


@pytest.mark.parametrize("shape", [clouds.disc(), clouds.sphere(), clouds.cylinder()], ids=by_name)
def test_five_percent_of_outliers(shape):
    points = shape.cloud(COUNT)
    low, high = points.min(0) - 0.2, points.max(0) + 0.2
    points[::20] = np.random.default_rng(1).uniform(low, high, (COUNT // 20, 3))
    mesh = reconstructed(points)
    assert_topology(mesh, shape)
    assert_near(mesh, shape, shape.spacing(COUNT), most=3.0)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_six_outliers_in_company_make_no_surface(noise, seed):
    """30 spacings above a torus, a few from each other."""
    shape = clouds.torus()
    spacing = shape.spacing(COUNT)
    points = shape.cloud(COUNT, seed, noise * spacing)
    company = [0, 0, points[:, 2].max() + 30 * spacing] + np.random.default_rng(seed).normal(0, 2 * spacing, (6, 3))
    mesh = reconstructed(np.concatenate([points, company]))
    assert_topology(mesh, shape)
    assert_near(mesh, shape, spacing, mean=0.1 + noise / 2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_outliers_in_the_planes_of_faces_do_not_extend_them(seed):
    """8 spacings beyond the edges of a cube."""
    shape, rng = clouds.cube(), np.random.default_rng(100 + seed)
    points = shape.cloud(COUNT, seed)
    beyond = points[rng.integers(COUNT, size=20)]
    at = np.arange(20), (np.abs(beyond).argmax(1) + 1) % 3
    beyond[at] = np.sign(beyond[at]) * (1 + 8 * shape.spacing(COUNT))
    mesh = reconstructed(np.concatenate([points, beyond]))
    assert_topology(mesh, shape)
    assert_near(mesh, shape, shape.spacing(COUNT), most=2.5)


MOVES = {
    "rotated": {},
    "a thousandth": {"scale": 1e-3},
    "ten thousand times": {"scale": 1e4},
    "UTM": {"offset": (5e5, 4.3e6, 2e3)},
}


@pytest.mark.parametrize("shape", [clouds.hemisphere(), clouds.torus()], ids=by_name)
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_moved_inputs_give_the_same_surface(shape, move):
    moved = turned(shape, **move)
    mesh = reconstructed(moved.cloud(COUNT))
    assert_topology(mesh, moved)
    spacing = moved.spacing(COUNT)
    assert_near(mesh, moved, spacing)
    still = reconstructed(shape.cloud(COUNT))
    # The same points of the truth, carried along, are as far from either mesh.
    there, here = (point_distances(m, s.cloud(5_000, 9)) for m, s in ((mesh, moved), (still, shape)))
    difference = np.abs(there / spacing - here / shape.spacing(COUNT))
    assert difference.mean() < 0.02
    assert np.quantile(difference, 0.98) < 0.1


def test_the_order_of_the_points_does_not_matter():
    points = clouds.hemisphere().cloud(COUNT)
    meshes = [reconstructed(points), reconstructed(np.random.default_rng(5).permutation(points))]
    assert_topology(meshes[1], clouds.hemisphere())
    assert point_distances(meshes[0], np.asarray(meshes[1].vertices)).max() < 0.1 * clouds.hemisphere().spacing(COUNT)


def test_points_that_stand_twice_change_nothing():
    points = clouds.torus().cloud(COUNT)
    once, twice = reconstructed(points), reconstructed(np.concatenate([points, points[::2]]))
    assert_topology(twice, clouds.torus())
    assert point_distances(once, np.asarray(twice.vertices)).max() < 0.1 * clouds.torus().spacing(COUNT)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((1, 3)),
        np.eye(3),
        np.outer(np.linspace(0, 1, 200), [1.0, 2.0, 3.0]),
        np.full((100, 3), 7.0),
        np.r_[clouds.disc().cloud(50), [[np.nan, 0, 0]]],
    ],
    ids=["one", "three", "on a line", "one place", "NaN"],
)
def test_what_is_no_surface_is_said_or_solved(points):
    try:
        mesh = reconstructed(points)
    except UserError as problem:
        assert "\n" not in str(problem) and len(str(problem)) > 20
    else:
        assert len(mesh.faces) and np.isfinite(mesh.vertices).all()


@pytest.mark.parametrize("shape", [clouds.sphere(), clouds.disc()], ids=by_name)
def test_fifty_points(shape):
    mesh = reconstructed(shape.cloud(50))
    assert len(mesh.faces)
    assert shape.distance(np.asarray(mesh.vertices)).max() < shape.spacing(50)
