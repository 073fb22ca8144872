"""The metrics against figures worked out by hand."""

import numpy as np
import pytest
import trimesh

from recon.errors import UserError
from recon.inputs import CrossSections
from recon.metrics import compare, compare_boundaries, contour_error, held_out_dice, surface_distances
from recon.scene import LabelGrid
from recon.slices import Label, LabelVolume, Plane, Ring


@pytest.fixture
def few_samples(monkeypatch):
    """For figures that do not need 200,000."""
    monkeypatch.setattr("recon.metrics.SURFACE_SAMPLES", 10_000)
    monkeypatch.setattr("recon.metrics.VOLUME_SAMPLES", 10_000)


def disc(radius, segments=256, z=0.0):
    angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    rim = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(segments, z)], 1)
    a = np.arange(segments)
    faces = np.stack([np.full(segments, segments), a, (a + 1) % segments], 1)
    return trimesh.Trimesh(np.concatenate([rim, [[0, 0, z]]]), faces, process=False)


def square(tilt=0.0, half=1.0):
    mesh = trimesh.Trimesh(
        half * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]]), [[0, 1, 2], [0, 2, 3]], process=False
    )
    return mesh.apply_transform(trimesh.transformations.rotation_matrix(tilt, [1, 0, 0]))


def test_concentric_spheres():
    """Radii 1 and 1.1 of fine polyhedra: every point of each is 0.1 from the other."""
    truth, result = (trimesh.creation.icosphere(5, radius) for radius in (1.0, 1.1))
    figures = compare(result, truth)
    diagonal = np.linalg.norm(np.ptp(truth.bounds, axis=0))
    assert figures.chamfer_l1 == pytest.approx(0.1, abs=5e-4)
    assert figures.chamfer_percent == pytest.approx(100 * figures.chamfer_l1 / diagonal)
    assert figures.normal_consistency == pytest.approx(1, abs=1e-3)
    assert figures.iou == pytest.approx(1 / 1.1**3, abs=5e-3)
    assert figures.f_score_0_5 == figures.f_score_1 == 0  # 0.1 is 2.9 percent of the diagonal
    assert (figures.components, figures.euler_number, figures.watertight) == (1, 2, True)
    assert figures.boundary_error is None


def test_a_mesh_is_equal_to_itself_and_to_itself_cut_finer(few_samples):
    truth = trimesh.creation.torus(1.0, 0.3)
    figures = compare(truth.subdivide(), truth)
    assert figures.chamfer_percent < 1e-5
    assert figures.f_score_0_5 == figures.f_score_1 == figures.iou == 1
    assert figures.normal_consistency > 0.999
    assert figures.euler_number == 0


def test_shifted_boxes():
    """Unit boxes shifted by a quarter: 3/4 in common; the padded box in which points are counted sees 1.05 in all."""
    truth = trimesh.creation.box()
    figures = compare(truth.copy().apply_translation([0.25, 0, 0]), truth)
    assert figures.iou == pytest.approx(0.75 / 1.05, abs=0.005)
    # Seen from either box: one end face lies 0.25 outside (1/6 of the area), one 0.25 inside where the nearest face is
    # at most 0.25 away, and of the four sides a quarter sticks out, by 0.125 on average.
    rng = np.random.default_rng(0)
    y, z = rng.uniform(-0.5, 0.5, (2, 400_000))
    inner = np.minimum(0.25, 0.5 - np.maximum(np.abs(y), np.abs(z))).mean()
    assert figures.chamfer_l1 == pytest.approx((0.25 + inner + 4 * 0.25 * 0.125) / 6, rel=0.01)


def test_f_score_counts_both_ways():
    """Half of the truth is missing: precision 1, recall one half (and the strip within the threshold)."""
    truth, result = square(), square()
    result.vertices[:, 0] = np.maximum(result.vertices[:, 0], 0)
    figures = compare(result, truth)
    for score, percent in ((figures.f_score_0_5, 0.5), (figures.f_score_1, 1.0)):
        recall = 0.5 + percent / 100 * np.sqrt(8) / 2
        assert score == pytest.approx(2 * recall / (1 + recall), abs=3e-3)


@pytest.mark.parametrize("degrees", [10, 35])
def test_normal_consistency_of_a_tilted_square(degrees, few_samples):
    figures = compare(square(np.radians(degrees)), square())
    assert figures.normal_consistency == pytest.approx(np.cos(np.radians(degrees)), abs=1e-6)
    assert figures.iou is None


def test_orientation_does_not_count_in_normals(few_samples):
    flipped = square()
    flipped.invert()
    assert compare(flipped, square()).normal_consistency == pytest.approx(1)


def test_boundary_of_open_discs(few_samples):
    """Rims of radius 1 and 0.9, and a hole in the result: its rim of radius 0.3 is 0.7 from the truth's boundary."""
    truth, result = disc(1.0), disc(0.9)
    diagonal = np.sqrt(8)
    assert compare(result, truth).boundary_error == pytest.approx(100 * 0.1 / diagonal, rel=2e-3)
    assert compare(result, truth).boundary_loops == 1
    ring = disc(1.0)
    inner = disc(0.3)
    n = 256
    a, b = np.arange(n), (np.arange(n) + 1) % n
    faces = np.concatenate([np.stack([a, b, b + n], 1), np.stack([a, b + n, a + n], 1)])
    ring = trimesh.Trimesh(np.concatenate([ring.vertices[:n], inner.vertices[:n]]), faces, process=False)
    figures = compare(ring, truth)
    assert figures.boundary_loops == 2
    assert figures.boundary_error == pytest.approx(100 * 0.7 * 0.3 / 1.3 / diagonal, rel=0.02)


@pytest.mark.parametrize("offset", [[1e6, -1e6, 1e6], [5e5, 4.3e6, 2e3]])
def test_a_scan_far_from_the_origin_compares_the_same(offset, few_samples):
    rng = np.random.default_rng(0)
    truth = trimesh.creation.icosphere(4)
    result = truth.copy()
    result.vertices += 0.004 * rng.standard_normal(result.vertices.shape)
    result.update_faces(np.arange(len(result.faces)) > 200)
    near = compare(result, truth)
    far = compare(result.copy().apply_translation(offset), truth.copy().apply_translation(offset))
    assert (near.boundary_loops, near.iou, near.boundary_error) == (far.boundary_loops, None, None)
    for name in ("chamfer_l1", "chamfer_percent", "f_score_0_5", "f_score_1", "normal_consistency"):
        assert getattr(far, name) == pytest.approx(getattr(near, name), rel=1e-4), name


def test_same_seed_same_figures(few_samples):
    truth, result = trimesh.creation.icosphere(2), trimesh.creation.icosphere(3)
    assert compare(result, truth, seed=5) == compare(result, truth, seed=5)
    assert compare(result, truth, seed=5) != compare(result, truth, seed=6)


def test_json_names(few_samples):
    import msgspec

    names = msgspec.to_builtins(compare(square(), square()))
    assert list(names) == [
        *("chamfer_l1", "chamfer_percent", "f_score_0.5", "f_score_1", "normal_consistency", "iou", "components"),
        *("boundary_loops", "non_manifold_edges", "watertight", "euler_number", "boundary_error"),
    ]


@pytest.mark.parametrize("broken", ["result", "truth"])
def test_nothing_to_measure_is_said(broken):
    meshes = {"result": square(), "truth": square()}
    meshes[broken] = trimesh.Trimesh()
    with pytest.raises(UserError, match=f"the {broken} has no faces"):
        compare(**meshes)
    meshes[broken] = square()
    meshes[broken].vertices[0, 0] = np.nan
    with pytest.raises(UserError, match=f"the {broken} has coordinates"):
        compare(**meshes)


def test_contour_error_of_circles_around_a_thinner_cylinder():
    """Contours of radius 1 on three planes, a mesh of radius 0.95: 0.05 everywhere, 1.8 % of the diagonal."""
    circle = disc(1.0).vertices[:-1, :2]
    planes = [Plane(np.array([5e5, 0, z]), np.eye(3)[:2], (Ring(circle, 1),)) for z in (-0.5, 0.0, 0.5)]
    sections = CrossSections((Label(1, "a", (1, 0, 0)),), tuple(planes))
    mesh = trimesh.creation.cylinder(0.95, 3, sections=512).apply_translation([5e5, 0, 0])
    error = contour_error(mesh, sections)
    assert error.mean == pytest.approx(100 * 0.05 / 3, rel=0.01)  # the box is 2 x 2 x 1: diagonal 3
    assert error.quantile_95 == pytest.approx(100 * 0.05 / 3, rel=0.01)
    truth = trimesh.creation.cylinder(1.0, 3).apply_translation([5e5, 0, 0])
    assert contour_error(mesh, sections, truth).mean == pytest.approx(100 * 0.05 / np.sqrt(17), rel=0.01)


def test_contour_error_is_weighted_by_length_not_by_vertices():
    """A square with one finely cut side: that side, the only one off the mesh, counts for a quarter."""
    fine = np.stack([np.linspace(1, -1, 400), np.ones(400)], 1)
    ring = Ring(np.concatenate([[[-1.0, -1.0], [1.0, -1.0]], fine]), 1)
    sections = CrossSections((Label(1, "a", (1, 0, 0)),), (Plane(np.zeros(3), np.eye(3)[:2], (ring,)),))
    mesh = trimesh.creation.box((2, 2, 2))
    mesh.vertices[mesh.vertices[:, 1] > 0, 1] = 1.1
    error = contour_error(mesh, sections)
    # The points of that side are 0.1 below the face at 1.1, those within 0.1 of its ends 0.05 on average from a side.
    off = (1.8 * 0.1 + 0.2 * 0.05) / 2
    assert error.mean == pytest.approx(100 * off / 4 / np.sqrt(8), rel=0.01)


def test_no_contours_no_contour_error():
    sections = CrossSections((), (Plane(np.zeros(3), np.eye(3)[:2]),))
    assert contour_error(square(), sections) is None


def test_dice_on_left_out_slices_by_hand():
    """Slices 0 and 2 kept, slice 1 compared: label 1 has 2 + 3 voxels, 2 in common; label 2 has 2 + 1, 1 in common."""
    true = np.zeros((3, 4, 2), np.uint16)
    true[1] = [[1, 1], [2, 2], [0, 0], [0, 0]]
    mine = np.ones_like(true)
    mine[1] = [[1, 1], [1, 2], [0, 0], [0, 0]]
    volume = LabelVolume(true, np.eye(4), 0, np.array([0, 2]))
    labels = tuple(Label(n, name, (0, 0, 0)) for n, name in ((1, "liver"), (2, "vein"), (3, "absent")))
    dice = held_out_dice(CrossSections(labels, volume=volume), LabelGrid(mine, np.eye(4)))
    assert dice.labels == {"liver": pytest.approx(4 / 5), "vein": pytest.approx(2 / 3)}
    assert dice.mean == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert dice.foreground_agreement == pytest.approx(3 / 4)


def test_dice_needs_the_same_voxels():
    volume = LabelVolume(np.zeros((3, 4, 2), np.uint16), np.eye(4), 0, np.array([0, 2]))
    with pytest.raises(ValueError, match="voxels"):
        held_out_dice(CrossSections((), volume=volume), LabelGrid(volume.labels, 2 * np.eye(4)))


def annulus(inner, outer, segments=256, center=(0.0, 0.0)):
    """A flat ring with a boundary loop at either radius."""
    angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    a = np.arange(segments)
    b = (a + 1) % segments
    faces = np.concatenate([np.stack([a, b, b + segments], 1), np.stack([a, b + segments, a + segments], 1)])
    vertices = np.concatenate([outer * circle, inner * circle]) + [*center, 0]
    return trimesh.Trimesh(vertices, faces, process=False)


def test_surface_distances_of_a_raised_disc():
    """A disc of radius 1 below one of radius 2 at height 0.1: seen from the small one all is 0.1 away; of the large
    one's area a quarter is, the rest looks at the rim."""
    distances = surface_distances(disc(1.0, z=0.1), disc(2.0), samples=20_000)
    assert distances.to_truth.shape == distances.to_result.shape == (20_000,)
    assert distances.to_truth == pytest.approx(0.1, abs=1e-6)
    radii = np.sqrt(np.random.default_rng(0).uniform(0, 4, 400_000))
    assert distances.to_result.mean() == pytest.approx(np.hypot(0.1, np.maximum(radii - 1, 0)).mean(), rel=0.01)
    assert distances.to_result.max() == pytest.approx(np.hypot(0.1, 1), rel=0.01)
    assert distances.chamfer == pytest.approx((distances.to_truth.mean() + distances.to_result.mean()) / 2)
    assert distances.normal_consistency == pytest.approx(1)
    assert distances.f_score(0.101) == pytest.approx(2 * 0.25 / 1.25, rel=0.03)
    assert distances.f_score(0.05) == 0


def test_boundary_error_both_ways():
    """The result lacks the hole of the truth: its own rim is exact, the truth's inner rim is 0.7 from it."""
    found = compare_boundaries(disc(1.0), annulus(0.3, 1.0), near=0.1)
    assert found.to_truth == pytest.approx(0, abs=1e-6)
    assert found.to_result == pytest.approx(0.7 * 0.3 / 1.3, rel=0.02)
    assert (found.loops, found.truth_loops, found.pairs, found.surplus, found.closed) == (1, 2, 1, 0, 1)


def test_a_shifted_boundary():
    """A circle moved sideways by d is |sqrt(1 + d^2 + 2 d cos t) - 1| away, 2 d / pi on average; it stays a pair."""
    found = compare_boundaries(disc(1.0).apply_translation([0.05, 0, 0]), disc(1.0), near=0.05)
    assert found.to_truth == pytest.approx(0.05 * 2 / np.pi, rel=0.01)
    assert found.to_result == pytest.approx(found.to_truth, rel=0.01)
    assert (found.surplus, found.closed) == (0, 0)
    apart = compare_boundaries(disc(1.0).apply_translation([0.05, 0, 0]), disc(1.0), near=0.03)
    assert (apart.surplus, apart.closed) == (1, 1)


def test_a_hole_beside_the_rim_is_surplus():
    """A small hole near the rim is no pair with it, though every point of the hole is nearer to the rim than `near`."""
    holed = trimesh.util.concatenate([disc(1.0), annulus(0.02, 0.03, center=(0.95, 0))])
    found = compare_boundaries(holed, disc(1.0), near=0.2)
    assert (found.loops, found.pairs, found.surplus, found.closed) == (3, 1, 2, 0)


def test_a_hole_in_another_place_is_surplus_and_the_true_one_closed():
    truth, result = annulus(0.2, 1.0), annulus(0.2, 1.0)
    result.vertices[256:, 0] += 0.5
    found = compare_boundaries(result, truth, near=0.1)
    assert (found.loops, found.truth_loops, found.surplus, found.closed) == (2, 2, 1, 1)


def test_closed_surfaces_have_no_boundaries_to_compare():
    found = compare_boundaries(trimesh.creation.icosphere(2), trimesh.creation.icosphere(2), near=0.1)
    assert (found.to_truth, found.to_result, found.loops, found.surplus, found.closed) == (None, None, 0, 0, 0)
    opened = compare_boundaries(disc(1.0), trimesh.creation.icosphere(2), near=0.1)
    assert (opened.to_truth, opened.to_result, opened.surplus, opened.closed) == (None, None, 1, 0)
