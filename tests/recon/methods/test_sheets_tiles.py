"""A cloud worked on in blocks gives the surface that it gives whole, without a seam; a finished block stays done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from recon.fields.blocks import Blocks
from recon.fields.local_fits import fit_sheets
from recon.fields.sheet_field import SheetField
from recon.inputs import PointCloud
from recon.methods import sheets as method
from recon.methods.sheets import SheetsConfig, sheets
from recon.scene import Scene
from recon.surface.closest import TriangleIndex
from recon.surface.sheets import OFF_GRID, surface_of
from recon.surface.sheets.borders import Mesh
from recon.surface.sheets.tiles import Tile
from recon.surface.sheets.welding import welded
from recon.surface.topology import Topology
from recon.training import Interrupted, Trainer
from tests.grids import square_grid

POINTS = 8_000
TILES = 4


def sphere(count: int = POINTS) -> np.ndarray:
    directions = np.random.default_rng(1).standard_normal((count, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def terrain() -> np.ndarray:
    x, y = np.random.default_rng(2).uniform(-1, 1, (2, POINTS))
    return np.stack([x, y, height(x, y)], 1)


def height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.2 * np.sin(3 * x) * np.cos(4 * y)


def in_tiles(points: np.ndarray, train: Trainer | None = None, **options: object) -> Scene:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "MOST_AT_ONCE", POINTS // TILES)
        patch.setattr(method, "MOST_IN_A_BLOCK", POINTS // TILES)
        return sheets(PointCloud(points), SheetsConfig(**options), train or Trainer())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def round_scene() -> Scene:
    return in_tiles(sphere(), upsample=1)


@pytest.fixture(scope="module")
def terrain_scene() -> Scene:
    return in_tiles(terrain())


def topology_of(scene: Scene) -> Topology:
    assert scene.mesh is not None
    return Topology(np.asarray(scene.mesh.faces), len(scene.mesh.vertices))


def vertices_of(scene: Scene) -> np.ndarray:
    assert scene.mesh is not None
    return scene.frame.to_user(np.asarray(scene.mesh.vertices))


def test_a_sphere_in_tiles_is_watertight_and_round(round_scene: Scene) -> None:
    topology = topology_of(round_scene)
    assert topology.is_watertight
    assert (topology.parts, topology.euler_number) == (1, 2)
    assert topology.non_manifold_vertices == 0
    assert "closed" in round_scene.notes[0]
    assert round_scene.mesh is not None
    assert round_scene.mesh.volume > 0
    spacing = np.sqrt(4 * np.pi / POINTS)
    assert np.abs(np.linalg.norm(vertices_of(round_scene), axis=1) - 1).max() < 0.1 * spacing


def test_points_come_back_with_normals_in_the_order_of_the_input(round_scene: Scene) -> None:
    points, found = sphere(), round_scene.points
    assert found is not None
    assert np.allclose(round_scene.frame.to_user(found.points), points, atol=1e-9)
    assert found.normals is not None
    assert np.quantile(np.abs((found.normals * points).sum(1)), 0.01) > 0.99


def test_terrain_in_tiles_has_its_own_border_and_no_other(terrain_scene: Scene) -> None:
    topology = topology_of(terrain_scene)
    assert (topology.parts, topology.boundary_loops, topology.euler_number) == (1, 1, 1)
    assert topology.is_consistently_oriented
    assert "open" in terrain_scene.notes[0]
    x, y, z = vertices_of(terrain_scene).T
    border = topology.faces.ravel()[topology.boundary_sides]
    spacing = np.sqrt(4 / POINTS)
    assert (np.maximum(abs(x), abs(y))[border] > 1 - 4 * spacing).all()
    inside = np.maximum(abs(x), abs(y)) < 1 - 2 * spacing
    assert np.abs(z - height(x, y))[inside].max() < 0.1 * spacing


@pytest.mark.parametrize("points", [sphere(), terrain()], ids=["sphere", "terrain"])
def test_on_one_lattice_the_tiles_give_what_the_whole_gives(
    points: np.ndarray, round_scene: Scene, terrain_scene: Scene
) -> None:
    tiled = round_scene if points[0, 2] == sphere()[0, 2] else terrain_scene
    assert tiled.mesh is not None
    fitted = fit_sheets(tiled.frame.from_user(points))
    base = SheetsConfig().step * float(np.median(fitted.spacing))
    space = Tile.everywhere(fitted.points.min(0) - OFF_GRID * base, base)
    whole = surface_of(SheetField.of(fitted), SheetsConfig().step, None, space).mesh
    topology, of_tiles = Topology(whole.faces, len(whole.vertices)), topology_of(tiled)
    assert topology.euler_number == of_tiles.euler_number
    assert topology.boundary_loops == of_tiles.boundary_loops
    for one, other in ((whole.vertices, tiled.mesh.vertices), (tiled.mesh.vertices, whole.vertices)):
        distance = KDTree(one).query(other)[0] / base
        assert (distance < 1e-4).mean() > 0.98
    distance = TriangleIndex(whole.vertices[whole.faces]).closest(np.asarray(tiled.mesh.vertices)).distances
    assert distance.max() < 0.1 * base / SheetsConfig().step


def test_an_interrupted_run_goes_on_with_the_tile_it_was_at(terrain_scene: Scene, tmp_path: Path) -> None:
    begun = 0

    class Stopping(Trainer):
        def __call__(self, stage):  # type: ignore[override]
            nonlocal begun
            begun += 1
            if begun == TILES + 3:
                self.request_stop()
            return super().__call__(stage)

    with pytest.raises(Interrupted):
        in_tiles(terrain(), Stopping(tmp_path))
    done = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(done) == TILES + 3
    resumed = in_tiles(terrain(), Trainer(tmp_path))
    assert np.array_equal(vertices_of(resumed), vertices_of(terrain_scene))
    assert np.array_equal(topology_of(resumed).faces, topology_of(terrain_scene).faces)
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in done.items())
    fits = [path.stat().st_size for path in tmp_path.glob("*-fit.safetensors")]
    surfaces = [path.stat().st_size for path in tmp_path.glob("*-surface.safetensors")]
    assert len(fits) == TILES
    assert max(fits) < POINTS / TILES * 44 + 2000  # bytes: a place, a normal, a spacing, an index for each point
    assert max(surfaces) < POINTS / TILES * 80 + 2000  # and a vertex and two faces


def test_blocks_fill_space_and_hold_about_as_many_points_each() -> None:
    points = np.random.default_rng(3).standard_normal((10_001, 3)) * [5, 1, 0.1]
    blocks = Blocks.of(points, 1500)
    counts = np.diff(blocks.starts)
    assert counts.sum() == len(points)
    assert counts.max() <= 1500
    assert counts.min() > 500
    assert np.array_equal(np.sort(blocks.order), np.arange(len(points)))
    places = np.random.default_rng(4).uniform(-30, 30, (500, 3))
    held = ((places[:, None] >= blocks.low) & (places[:, None] < blocks.high)).all(2)
    assert (held.sum(1) == 1).all()


def test_points_around_a_block_are_those_within_reach_of_its_box() -> None:
    points = np.random.default_rng(5).uniform(-1, 1, (5_000, 3))
    blocks = Blocks.of(points, 700)
    around = blocks.around(2, 0.2)
    members = blocks.members(2)
    assert np.array_equal(around[: members.stop - members.start], np.arange(members.start, members.stop))
    within = ((blocks.points >= blocks.low[2] - 0.2) & (blocks.points < blocks.high[2] + 0.2)).all(1)
    assert np.array_equal(np.sort(around), np.flatnonzero(within))


def test_points_in_one_place_cannot_be_halved_and_end_up_in_one_block() -> None:
    points = np.repeat([[0.0, 0, 0], [1, 0, 0]], [900, 100], axis=0)
    blocks = Blocks.of(points, 200)
    assert np.diff(blocks.starts).tolist() == [900, 100]


def test_pieces_that_look_different_ways_are_turned_alike() -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 1, 6), indexing="ij")
    square = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    a = np.flatnonzero((x < 1) & (y < 1))
    up = np.concatenate([np.stack([a, a + 6, a + 7], 1), np.stack([a, a + 7, a + 1], 1)])
    down = up[:, ::-1]
    mesh = welded([Mesh(square, up), Mesh(square + [1, 0, 0], down), Mesh(square + [2, 0, 0], up)], 1.0, False)
    topology = Topology(np.asarray(mesh.faces, np.int64), len(mesh.vertices))
    assert len(mesh.vertices) == 16 * 6
    assert (topology.parts, topology.boundary_loops) == (1, 1)
    assert topology.is_consistently_oriented


def test_sheets_that_touch_at_a_seam_are_not_welded_to_each_other() -> None:
    wall = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    crossing = wall[:, [1, 0, 2]] + [1, -0.5, 0]  # through the middle of the seam's plane, touching it in no side
    mesh = welded([Mesh(wall, faces), Mesh(wall + [1, 0, 0], faces), Mesh(crossing, faces)], 1.0, False)
    topology = Topology(np.asarray(mesh.faces, np.int64), len(mesh.vertices))
    assert topology.parts == 2
    assert topology.non_manifold_edges == 0


def test_a_face_that_lies_on_those_of_another_piece_gives_way() -> None:
    square, faces = square_grid(5)
    flap = [[32, 36, 33]]  # of the first piece, beyond the side from (5, 2) to (5, 3), where the second has a face too
    first = Mesh(np.concatenate([square, [[5.5, 2.5, 0.1]]]), np.concatenate([faces, flap]))
    mesh = welded([first, Mesh(square + [5, 0, 0], faces)], 1.0, False)
    topology = Topology(np.asarray(mesh.faces, np.int64), len(mesh.vertices))
    assert topology.non_manifold_edges == 0
    assert (topology.parts, topology.boundary_loops) == (1, 1)
    assert topology.is_consistently_oriented


def test_of_six_faces_at_an_edge_where_three_pieces_meet_two_stay() -> None:
    square, faces = square_grid(5)
    top, below = [5.0, 2.5, 1], [5.0, 2.5, -1]  # of flaps at the side from (5, 2) to (5, 3), where all pieces have two
    first = Mesh(np.concatenate([square, [top]]), np.concatenate([faces, [[32, 36, 33]]]))
    second = Mesh(np.concatenate([square + [5, 0, 0], [below]]), np.concatenate([faces, [[2, 3, 36]]]))
    corners = np.array([[5.0, 2, 0], [5, 3, 0], top, [5, 1.5, 1], [5, 3.5, 1], [6, 2.5, 1], [4, 2.5, 1]])
    third = Mesh(corners, np.array([[0, 1, 5], [1, 0, 6], [0, 2, 3], [2, 1, 4]]))
    mesh = welded([first, second, third], 1.0, False)
    assert Topology(np.asarray(mesh.faces, np.int64), len(mesh.vertices)).non_manifold_edges == 0


def test_what_touches_a_seam_in_one_vertex_is_parted_from_it() -> None:
    square, faces = square_grid(5)
    x, y, zero = square.T
    standing = np.stack([zero + 5, 3 + (x - y) / 2**0.5, (x + y) / 2**0.5], 1)  # on (5, 3), which is on the seam
    of_standing = np.where(faces == 0, 33, 36 + faces)
    first = Mesh(np.concatenate([square, standing]), np.concatenate([faces, of_standing]))
    mesh = welded([first, Mesh(square + [5, 0, 0], faces)], 1.0, False)
    topology = Topology(np.asarray(mesh.faces, np.int64), len(mesh.vertices))
    assert topology.non_manifold_vertices == 0
    assert (topology.parts, topology.boundary_loops) == (2, 2)
    assert len(mesh.faces) == 3 * len(faces)


def test_a_side_whose_faces_look_different_ways_is_one_edge_all_the_same() -> None:
    square, faces = square_grid(5)
    turned = faces.copy()
    turned[25 + 2] = turned[25 + 2, ::-1]  # at the seam, from (0, 2) to (0, 3)
    mesh = welded([Mesh(square, faces), Mesh(square + [5, 0, 0], turned)], 1.0, False)
    topology = Topology(np.asarray(mesh.faces, np.int64), len(mesh.vertices))
    assert topology.non_manifold_edges == 0
    assert (len(mesh.faces), topology.parts, topology.boundary_loops) == (2 * len(faces), 1, 1)


def test_a_crack_that_touches_itself_gets_a_fan_on_either_side() -> None:
    ball = trimesh.creation.icosphere(3)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.faces)
    at = int(np.abs(vertices[:, 2]).argmin())
    fan = np.flatnonzero((faces == at).any(1))
    one = fan[0]
    other = next(n for n in fan if len(np.intersect1d(faces[n], faces[one])) == 1)
    kept = np.setdiff1d(np.arange(len(faces)), [one, other])
    upper = vertices[faces[kept]].mean(1)[:, 2] > 0
    mesh = welded([Mesh(vertices, faces[kept][upper]), Mesh(vertices, faces[kept][~upper])], 1.0, True)
    topology = Topology(np.asarray(mesh.faces, np.int64), len(mesh.vertices))
    assert topology.is_watertight
    assert topology.non_manifold_edges == 0


def test_a_crack_along_a_seam_of_a_closed_thing_is_filled() -> None:
    ball = trimesh.creation.icosphere(3)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.faces)
    upper = vertices[faces].mean(1)[:, 2] > 0
    lost = KDTree(vertices[faces].mean(1)).query([1.0, 0, 0.02])[1]
    upper_faces = faces[upper & (np.arange(len(faces)) != lost)]
    mesh = welded([Mesh(vertices, upper_faces), Mesh(vertices, faces[~upper])], 1.0, True)
    topology = Topology(np.asarray(mesh.faces, np.int64), len(mesh.vertices))
    assert topology.is_watertight
    assert topology.euler_number == 2


def test_the_memory_told_beforehand_grows_little_once_a_cloud_is_in_blocks() -> None:
    def told(count: int) -> float:
        cloud = PointCloud(np.broadcast_to(np.zeros(3), (count, 3)))
        return method.estimate(cloud, SheetsConfig(), "cpu").megabytes

    assert told(200_000) > 5 * told(20_000) / 3
    assert told(2_000_000) < 1.5 * told(200_000)
    assert told(10_000_000) < 4_000
