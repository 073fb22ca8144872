"""Painted solids, reconstructed from some of their slices and measured against the solids."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.ndimage import gaussian_filter

import recon.methods.morphing.slices as slices_module
from benchmarks.slices_volumes import BASELINES, interpolated
from recon.errors import UserError
from recon.formats import SliceOptions, read
from recon.inputs import CrossSections
from recon.methods.morphing import MorphingConfig, morphing
from recon.methods.morphing.layers import LayersStage
from recon.metrics import held_out_dice
from recon.scene import Scene
from recon.slices import Label, LabelVolume, Plane
from recon.surface.closest import TriangleIndex
from recon.training import Trainer
from tests.recon.surface.mesh_assertions import assert_closed_and_manifold

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("RELIEF_DATA", ROOT.parent / "shared" / "data"))
SIZE = 48
CENTRE = np.array([23.3, 22.8, 24.1])
RIGID = MorphingConfig(stiffness=1e6)


def nodes(size: int = SIZE) -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(size, dtype=float)] * 3, indexing="ij"), axis=-1)


def ball(radius: float, centre: np.ndarray = CENTRE) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: np.linalg.norm(points - centre, axis=-1) - radius


def torus(points: np.ndarray) -> np.ndarray:
    """Turned out of the slices: radii 13 and 4.5."""
    turned = (points - CENTRE) @ np.linalg.qr([[0.3, 0.5, 0.8], [0.9, -0.1, 0.2], [0.1, 0.7, -0.4]])[0]
    return np.hypot(np.hypot(turned[..., 0], turned[..., 1]) - 13, turned[..., 2]) - 4.5


def slanted(points: np.ndarray) -> np.ndarray:
    """A rod of radius 3 that moves 7 pixels to the side over 4 slices: its discs on every 4th do not overlap."""
    return np.hypot(points[..., 0] - 1.75 * (points[..., 2] - 24) - 23.6, points[..., 1] - 22.4) - 3.0


def sections_of(
    labels: np.ndarray, every: int = 1, axis: int = 2, affine: np.ndarray | None = None, start: int = 0
) -> CrossSections:
    ids = [int(label) for label in np.unique(labels) if label]
    kept = np.arange(start, labels.shape[axis], every)
    volume = LabelVolume(labels.astype(np.uint16), np.eye(4) if affine is None else affine, axis, kept)
    return CrossSections(tuple(Label(n, f"label {n}", (0.8, 0.5, 0.1 * n)) for n in ids), volume=volume, unit="mm")


def reconstructed(sections: CrossSections, config: MorphingConfig | None = None) -> Scene:
    return morphing(sections, config or MorphingConfig(), Trainer())


def only(scene: Scene) -> trimesh.Trimesh:
    (mesh,) = scene.objects.values()
    assert_closed_and_manifold(mesh)
    return mesh


def distances_to(mesh: trimesh.Trimesh, solid: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    points, _ = trimesh.sample.sample_surface(mesh, 5000, seed=1)
    return np.abs(solid(points))


def reach_upward(mesh: trimesh.Trimesh, at: tuple[float, float]) -> tuple[float, float]:
    """The lowest and highest z of the mesh within two voxels of a vertical line."""
    near = np.abs(mesh.vertices[:, :2] - at).max(1) < 2
    return mesh.vertices[near, 2].min(), mesh.vertices[near, 2].max()


@pytest.mark.parametrize(("solid", "euler"), [(ball(15.3), 2), (torus, 0)], ids=["ball", "torus"])
@pytest.mark.parametrize(("every", "bound"), [(1, 0.08), (2, 0.12), (4, 0.25)])
def test_solids_come_back_within_a_fraction_of_a_voxel(solid, euler, every, bound):
    mesh = only(reconstructed(sections_of(solid(nodes()) < 0, every)))
    assert mesh.euler_number == euler
    assert distances_to(mesh, solid).mean() < bound


def test_a_shell_keeps_its_cavity():
    points = nodes()
    mesh = only(reconstructed(sections_of((ball(16)(points) < 0) & (ball(9)(points) > 0), 2)))
    assert mesh.euler_number == 4
    outer, inner = sorted(mesh.split(only_watertight=True), key=lambda part: -part.volume)
    assert outer.volume == pytest.approx(4 / 3 * np.pi * 16**3, rel=0.02)
    assert inner.volume == pytest.approx(-4 / 3 * np.pi * 9**3, rel=0.04)


@pytest.mark.parametrize("every", [1, 3])
def test_neighbours_share_their_surface_without_gap_or_overlap(every):
    points = nodes()
    labels = np.where(ball(15)(points) < 0, np.where(points[..., 0] < 22, 1, 2), 0)
    labels[ball(6, CENTRE + [0, 0, 2.0])(points) < 0] = 3
    scene = reconstructed(sections_of(labels, every))
    for mesh in scene.objects.values():
        assert_closed_and_manifold(mesh)
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in scene.objects.values()])
    places, index = np.unique(corners.reshape(-1, 3).round(9), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    kind, which = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True)
    uses = np.bincount(which.ravel(), minlength=len(kind))
    assert set(uses) == {1, 2}  # a face is the outside's, or has a label on both sides
    outside = trimesh.Trimesh(places, faces[uses[which.ravel()] == 1])
    assert outside.is_watertight and outside.is_winding_consistent
    assert outside.volume == pytest.approx(sum(mesh.volume for mesh in scene.objects.values()))
    assert outside.volume == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.02)


def test_what_crosses_the_slices_at_a_slant_stays_in_one_piece():
    sections = sections_of(slanted(nodes()) < 0, 4)
    followed, straight = reconstructed(sections), reconstructed(sections, RIGID)
    assert only(followed).body_count == 1
    assert only(straight).body_count > 5
    assert followed.label_grid and straight.label_grid
    found, without = (held_out_dice(sections, scene.label_grid).mean for scene in (followed, straight))
    assert found > 0.85 and found > without + 0.2


def blobs(shape: tuple[int, int, int], count: int, seed: int = 0) -> np.ndarray:
    """A random partition with smooth borders."""
    noise = np.random.default_rng(seed).standard_normal((count + 1, *shape))
    return np.stack([gaussian_filter(one, 2.5) for one in noise]).argmax(0)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_kept_slices_keep_their_labels(every, axis):
    labels = blobs((20, 26, 23), 5)
    scene = reconstructed(sections_of(labels, every, axis))
    assert scene.label_grid is not None
    kept = [slice(None)] * 3
    kept[axis] = slice(None, None, every)
    assert np.array_equal(scene.label_grid.labels[tuple(kept)], labels[tuple(kept)])


def test_the_mesh_and_the_label_grid_agree():
    labels = (torus(nodes()) < 0).astype(np.uint16)
    scene = reconstructed(sections_of(labels, 3))
    assert scene.label_grid is not None
    inside = scene.label_grid.labels[8:40, 8:40, 8:40] > 0
    points = np.argwhere(np.ones_like(inside)) + 8.0
    mesh = only(scene)
    wrong = mesh.contains(points) != inside.ravel()
    assert wrong.mean() < 0.01
    surface = TriangleIndex(np.asarray(mesh.triangles), threads=1)
    assert surface.closest(points[wrong]).distances.max() < 0.35


def test_an_object_ends_halfway_to_the_slice_that_does_not_show_it():
    labels = np.zeros((30, 30, 30), int)
    labels[8:20, 9:21, 9:20] = 1
    scene = reconstructed(sections_of(labels, 4))  # on slices 12 and 16; not on 8 and 20
    low, high = reach_upward(only(scene), (13.5, 14.5))
    assert low == pytest.approx(10, abs=0.3) and high == pytest.approx(18, abs=0.3)
    assert scene.label_grid is not None
    present = np.flatnonzero(scene.label_grid.labels.any((0, 1)))
    assert present[0] in (10, 11) and present[-1] in (17, 18)


def test_an_empty_slice_means_that_nothing_is_there():
    labels = np.zeros((24, 24, 25), int)
    labels[6:18, 6:18, 2:7] = labels[6:18, 6:18, 14:23] = 1
    scene = reconstructed(sections_of(labels, 4))
    assert only(scene).body_count == 2
    assert scene.label_grid is not None and not scene.label_grid.labels[:, :, 8].any()


@pytest.mark.parametrize(("every", "end"), [(1, 0.5), (3, 1.5), (4, 2.0)])
def test_what_reaches_the_last_slice_goes_on_for_half_a_gap(every, end):
    labels = np.zeros((20, 20, 13), int)
    labels[5:15, 6:14] = 1
    low, high = reach_upward(only(reconstructed(sections_of(labels, every))), (9.5, 9.5))
    assert low == pytest.approx(-end, abs=0.1) and high == pytest.approx(12 + end, abs=0.1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_surfaces_stand_where_the_affine_says(mirrored):
    labels = blobs((18, 22, 20), 2, seed=4)
    affine = np.eye(4)
    affine[:3, :3] = trimesh.transformations.rotation_matrix(0.7, [1, 2, -1])[:3, :3] @ np.diag([0.8, 0.8, 0.8])
    affine[:3, 3] = [120, -45, 3000]
    if mirrored:
        affine[:, 0] *= -1
    upright, placed = (reconstructed(sections_of(labels, 2, affine=a)) for a in (np.eye(4), affine))
    for name, mesh in placed.objects.items():
        assert_closed_and_manifold(mesh)
        expected = trimesh.transform_points(upright.objects[name].vertices, affine)
        assert np.allclose(mesh.vertices, expected, atol=1e-6)
        assert mesh.volume == pytest.approx(0.8**3 * upright.objects[name].volume)
        assert mesh.volume > 0


def test_slices_far_apart_get_layers_between():
    thick = sections_of((torus(nodes()) < 0)[:, :, ::4], affine=np.diag([1.0, 1, 4, 1]))
    finest, coarsest = only(reconstructed(thick)), only(reconstructed(thick, MorphingConfig(layers=1)))
    assert finest.edges_unique_length.max() < 2.5 < coarsest.edges_unique_length.max()
    assert distances_to(finest, torus).mean() < 0.75 * distances_to(coarsest, torus).mean()


def test_nothing_of_one_voxel_is_lost():
    labels = np.zeros((20, 20, 20), int)
    labels[3, 3, 3] = 1
    labels[10, 2:18, 10] = 2
    labels[2:18, 14, 2:18] = 3
    labels[5, 5, 5] = labels[6, 6, 6] = labels[7, 7, 7] = 4
    labels[0, 19, 0] = 5
    scene = reconstructed(sections_of(labels))
    assert scene.label_grid is not None and np.array_equal(scene.label_grid.labels, labels)
    for n, mesh in enumerate(scene.objects.values(), start=1):
        assert_closed_and_manifold(mesh)
        low, high = np.argwhere(labels == n).min(0), np.argwhere(labels == n).max(0)
        assert (mesh.bounds[0] < low).all() and (mesh.bounds[1] > high).all()
        assert (np.abs(mesh.bounds - [low, high]) < 0.75).all()
    sheet = scene.objects["label 3"]
    assert sheet.volume == pytest.approx((labels == 3).sum(), rel=0.05)


def test_enlarged_masks_are_taken_at_their_own_resolution(monkeypatch):
    small = torus(2 * nodes(SIZE // 2) + 0.5) < 0
    enlarged = sections_of(small.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    scene = reconstructed(enlarged)
    assert "multiples of 2 pixels" in scene.notes[0]
    assert scene.label_grid is not None and np.array_equal(scene.label_grid.labels, enlarged.volume.labels)
    as_painted = distances_to(only(scene), torus).mean()
    monkeypatch.setattr(slices_module, "ENOUGH_EDGES", 1000)
    assert as_painted < 0.8 * distances_to(only(reconstructed(enlarged)), torus).mean()


def test_an_interrupted_stage_goes_on_to_the_same_result(monkeypatch):
    made: list[LayersStage] = []
    original = LayersStage.__init__

    def remember(self, *args):
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(LayersStage, "__init__", remember)
    sections = sections_of(blobs((20, 20, 16), 3), 3)
    for _ in range(2):
        reconstructed(sections)
    whole, resumed = made
    original(resumed, whole.stack, whole.fields, np.stack(whole.displacements), 3, whole.wanted, whole.show)
    half = {}
    for i in range(whole.steps):
        resumed.step(i)
        if i == 2:
            half = {name: array.copy() for name, array in resumed.state_dict().items()}
            original(resumed, whole.stack, whole.fields, np.stack(whole.displacements), 3, whole.wanted, whole.show)
            resumed.load_state_dict(half)
    for name, array in whole.state_dict().items():
        assert np.array_equal(array, resumed.state_dict()[name]), name


def test_two_equal_runs_give_equal_meshes():
    sections = sections_of(blobs((20, 20, 16), 3), 3)
    first, second = reconstructed(sections), reconstructed(sections)
    for name in first.objects:
        assert np.array_equal(first.objects[name].vertices, second.objects[name].vertices)


@pytest.mark.parametrize(("every", "dice", "agreement"), [(2, 0.86, 0.935), (3, 0.85, 0.915)])
def test_organs_of_a_ct_beat_interpolation_without_motion(every, dice, agreement):
    sections = read(ROOT / "data" / "slices" / "ct_abdomen.nii.gz", SliceOptions(keep_every=every))
    volume, scene = sections.volume, reconstructed(sections)
    assert volume is not None and scene.label_grid is not None
    there = set(np.unique(np.take(volume.labels, volume.left_out, volume.axis)))
    found, plain = (
        held_out_dice(sections, grid)
        for grid in (scene.label_grid, interpolated(sections, BASELINES["monotone cubic (PCHIP)"]))
    )
    mean = lambda result: np.mean([result.labels[one.name] for one in sections.labels if one.id in there])  # noqa: E731
    assert mean(found) > max(dice, mean(plain) + 0.015)
    assert found.foreground_agreement > max(agreement, plain.foreground_agreement + 0.015)
    for mesh in scene.objects.values():
        assert_closed_and_manifold(mesh)


@pytest.mark.slow
def test_half_millimetre_nuclei_fit_into_memory():
    path = DATA / "slices" / "bigbrain_nuclei" / "bigbrain.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path} is missing; RELIEF_DATA names the folder of the inputs")
    sections = read(path, SliceOptions())
    tracemalloc.start()
    reconstructed(sections)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5e9


def test_contours_and_single_slices_are_refused():
    with pytest.raises(UserError, match="use --method least-bending"):
        reconstructed(CrossSections((Label(1, "a", (1, 0, 0)),), (Plane(np.zeros(3), np.eye(3)[:2]),)))
    with pytest.raises(UserError, match="needs two"):
        reconstructed(sections_of(np.ones((5, 5, 5)), every=9))
    with pytest.raises(UserError, match="no label is painted"):
        reconstructed(sections_of(np.zeros((5, 5, 5))))
