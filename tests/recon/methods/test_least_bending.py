"""Contours of known solids, reconstructed and measured against the solids; ablations of what the method rests on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from recon.errors import UserError
from recon.formats import SliceOptions, read
from recon.inputs import CrossSections
from recon.methods.least_bending import LeastBendingConfig, _closed, least_bending
from recon.methods.least_bending.fields import FieldsStage, Recipe, plane_spacing
from recon.metrics import compare, contour_error
from recon.planar import outlines
from recon.scene import Frame, Scene
from recon.slices import Label, Plane
from recon.training import Trainer
from tests.solids import cut, double_torus, oblique, parallel, shell

DRAFT = LeastBendingConfig(resolution=64)


def reconstructed(sections: CrossSections, config: LeastBendingConfig = DRAFT) -> Scene:
    return least_bending(sections, config, Trainer()).in_user_frame()


def with_recipe(sections: CrossSections, recipe: Recipe, resolution: int = 64) -> trimesh.Trimesh:
    """The surface of the only label, by other parameters of the energy."""
    points = np.concatenate([plane.to_world(ring.vertices) for plane in sections.planes for ring in plane.rings])
    frame = Frame.fitting(points, "unknown", (0, 0, 1))
    found = {1: [outline.in_frame(frame) for outline in outlines(sections, 1)]}
    field = Trainer()(FieldsStage(found, resolution, False, frame, sections.labels, recipe))[1]
    mesh = _closed(field)
    mesh.vertices = frame.to_user(mesh.vertices)
    return mesh


@pytest.mark.parametrize(
    ("solid", "euler", "bound"),
    [
        (trimesh.creation.icosphere(subdivisions=4), 2, 0.97),
        (trimesh.creation.torus(0.7, 0.3), 0, 0.95),
        (double_torus(), -2, 0.95),
        (shell(), 4, 0.95),
    ],
    ids=["ball", "torus", "genus 2", "shell"],
)
@pytest.mark.parametrize("planes", ["parallel", "oblique"])
def test_known_solids_come_back(solid, euler, bound, planes):
    low, high = solid.bounds[:, 0]
    where = parallel(low, high, 14, axis=0) if planes == "parallel" else oblique(24, 0.55, seed=3)
    sections = cut({"solid": solid}, *where, partition=True)
    mesh = reconstructed(sections).objects["solid"]
    figures, error = compare(mesh, solid), contour_error(mesh, sections, solid)
    assert figures.watertight and figures.non_manifold_edges == 0
    assert figures.euler_number == euler
    assert figures.iou is not None and figures.iou > bound
    assert abs(mesh.volume / solid.volume - 1) < 0.03
    assert error is not None and error.mean < 0.1


def test_nested_labels_that_touch_leave_neither_gap_nor_overlap():
    ball = trimesh.creation.icosphere(subdivisions=4)
    half = trimesh.creation.box((2.4, 2.4, 2.4), trimesh.transformations.translation_matrix([1.2, 0, 0]))
    core = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    left = trimesh.boolean.difference([ball, half], engine="manifold")
    right = trimesh.boolean.difference([trimesh.boolean.intersection([ball, half], engine="manifold"), core])
    solids = {"left": left, "right": right, "core": trimesh.boolean.intersection([core, half], engine="manifold")}
    sections = cut(solids, *oblique(30, 0.8, seed=5), partition=True)
    meshes = reconstructed(sections).objects
    assert all(mesh.is_watertight for mesh in meshes.values())
    for name, solid in solids.items():
        assert compare(meshes[name], solid).iou > 0.85, name
    together = sum(mesh.volume for mesh in meshes.values())
    assert together == pytest.approx(ball.volume, rel=0.03)
    corners = {name: {tuple(v) for v in np.round(mesh.vertices, 9)} for name, mesh in meshes.items()}
    assert len(corners["left"] & corners["right"]) > 50, "neighbours share the vertices of their common surface"


def test_overlapping_regions_are_reconstructed_each_for_itself():
    body, organ = trimesh.creation.icosphere(subdivisions=4), trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    sections = cut({"body": body, "organ": organ}, *parallel(-1, 1, 15), partition=False)
    meshes = reconstructed(sections).objects
    assert meshes["body"].volume == pytest.approx(body.volume, rel=0.03)
    assert meshes["organ"].volume == pytest.approx(organ.volume, rel=0.08)


def test_a_region_on_one_plane_alone_is_left_out_and_told():
    solids = {"body": trimesh.creation.icosphere(), "mark": trimesh.creation.icosphere(radius=0.05)}
    scene = reconstructed(cut(solids, *parallel(-1, 1, 15), partition=False))
    assert list(scene.objects) == ["body"] and "mark" in scene.notes[0]


def test_an_empty_plane_says_that_nothing_is_there():
    balls = trimesh.util.concatenate(
        [trimesh.creation.icosphere(radius=0.5).apply_translation([0, 0, z]) for z in (-0.65, 0.65)]
    )
    origins = np.array([-1.0, -0.8, -0.6, -0.4, -0.25, 0, 0.25, 0.4, 0.6, 0.8, 1.0])[:, None] * [0, 0, 1.0]
    sections = cut({"balls": balls}, origins, np.tile([0, 0, 1.0], (11, 1)), partition=True)
    assert not sections.planes[5].rings
    assert compare(reconstructed(sections).objects["balls"], balls).components == 2
    blind = replace(sections, contours=sections.contours[:5] + sections.contours[6:])
    assert compare(reconstructed(blind).objects["balls"], balls).components == 1


def test_turning_scaling_moving_and_shuffling_the_input_change_nothing_but_rounding(data_dir: Path):
    sections = read(data_dir / "slices" / "eight_parallel12.csl", SliceOptions())
    mesh = reconstructed(sections).objects["object"]
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    scale, shift = 1000.0, np.array([4e5, 5e6, -300])
    moved = replace(
        sections,
        contours=tuple(
            replace(
                plane,
                origin=scale * quarter @ plane.origin + shift,
                axes=plane.axes @ quarter.T,
                rings=tuple(replace(ring, vertices=scale * ring.vertices) for ring in plane.rings),
            )
            for plane in reversed(sections.contours)
        ),
    )
    other = reconstructed(moved).objects["object"]
    other.vertices = ((other.vertices - shift) / scale) @ quarter
    figures = compare(other, mesh)
    assert figures.euler_number == compare(mesh, mesh).euler_number
    assert figures.chamfer_percent < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "ablation"),
    [
        ("eight_oblique18", {"redistance": (0, 0, 0), "floor": 1.0}),
        ("hand_oblique18", {"doubt": 1e6}),
        ("mammoth_oblique18", {"trust": 1e6}),
        ("eight_parallel12", {"margin": 0.5}),
    ],
    ids=["no re-distancing", "nothing doubted", "far values trusted", "box closes at the last plane"],
)
def test_what_the_method_rests_on_matters(file, ablation, real_data: Path):
    folder = real_data / "slices" / f"crosssdf_{file.split('_')[0]}"
    sections, truth = read(folder / f"{file}.csl", SliceOptions()), trimesh.load_mesh(folder / "truth.stl")
    best, worse = (
        compare(with_recipe(sections, recipe), truth).chamfer_percent for recipe in (Recipe(), Recipe(**ablation))
    )
    assert worse > 1.02 * best


@pytest.mark.slow
def test_without_simplification_the_topology_is_worse(real_data: Path):
    folder = real_data / "slices" / "crosssdf_mammoth"
    sections, truth = read(folder / "mammoth_parallel12.csl", SliceOptions()), trimesh.load_mesh(folder / "truth.stl")
    ours = compare(with_recipe(sections, Recipe(), 128), truth)
    plain = compare(with_recipe(sections, Recipe(depths=()), 128), truth)
    assert (ours.components, ours.euler_number) == (1, 2)
    assert plain.components > 1


def test_the_spacing_of_parallel_planes_is_the_unit_of_length():
    sections = cut({"ball": trimesh.creation.icosphere(subdivisions=3)}, *parallel(-1, 1, 9), partition=True)
    assert plane_spacing(outlines(sections, 1)) == pytest.approx(0.2, rel=0.06)


def test_elevation_contours_and_a_single_plane_are_refused_in_a_sentence():
    line = np.array([[0.0, 0], [1, 1]])
    terrain = CrossSections((Label(1, "ground", (1, 0, 0)),), (Plane(np.zeros(3), np.eye(3)[:2], lines=(line,)),))
    with pytest.raises(UserError, match="height-field"):
        reconstructed(terrain)
    one = cut({"ball": trimesh.creation.icosphere()}, np.zeros((1, 3)), np.array([[0, 0, 1.0]]), partition=True)
    with pytest.raises(UserError, match="at least two planes"):
        reconstructed(one)
