"""The published field: its samples, its network and its loss against slow versions written from the description, its
surfaces against solids that are known."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import ConvexHull
from torch.nn import functional

from recon.errors import UserError
from recon.inputs import CrossSections
from recon.methods.orex import OrexConfig, fit_to_minutes, orex
from recon.methods.orex import contour_samples as cs
from recon.methods.orex.extraction import Lattice, expected_evaluations, label_lattice, lattice_around, surfaces
from recon.methods.orex.field import STEEPEST, RefinementField, losses
from recon.methods.orex.stage import OrexStage, Plan
from recon.slices import Label, LabelVolume, Plane, Ring
from recon.training import Stage, Trainer
from tests.killing import assert_killed_runs_end_with_the_same_bits

ROOT = Path(__file__).resolve().parents[3]
A, B = Label(1, "a", (0.9, 0.5, 0.4)), Label(2, "b", (0.4, 0.5, 0.9))
SHORT = (cs.Level(2, 2**-4, 40), cs.Level(2, 2**-5, 60))  # in place of the 650 epochs of the paper


def rectangle(x0: float, y0: float, x1: float, y1: float, label: int = 1, hole: bool = False) -> Ring:
    return Ring(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float), label, hole)


def circle(x: float, y: float, radius: float, label: int = 1, hole: bool = False, vertices: int = 48) -> Ring:
    angles = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    return Ring(np.array([x, y]) + radius * np.stack([np.cos(angles), np.sin(angles)], 1), label, hole)


def stack(rings_at: dict[float, tuple[Ring, ...]], labels: tuple[Label, ...] = (A,), **options) -> CrossSections:
    """Horizontal planes with rings, by height."""
    planes = (Plane(np.array([0.0, 0.0, z]), np.eye(3)[:2], rings) for z, rings in rings_at.items())
    return CrossSections(labels, tuple(planes), **options)


FAR = {0.5: (rectangle(-0.9, -0.9, -0.8, -0.8),)}  # a second plane with something on it


def sliced_ball(planes: int = 7, radius: float = 1.0) -> CrossSections:
    heights = radius * np.linspace(-1.05, 1.05, planes)
    return stack({z: (circle(0, 0, np.sqrt(radius**2 - z**2)),) if abs(z) < radius else () for z in heights})


def sliced_torus(planes: int = 9, ring: float = 1.0, tube: float = 0.45) -> CrossSections:
    """A torus around the x axis, cut across it: two discs, one disc with a waist, an annulus in the general case."""
    rings_at: dict[float, tuple[Ring, ...]] = {}
    for x in np.linspace(-1.05 * tube, 1.05 * tube, planes):
        half = np.sqrt(max(tube**2 - x**2, 0))
        rings = (circle(0, 0, ring + half, vertices=96), circle(0, 0, ring - half, hole=True, vertices=96))
        rings_at[x] = rings if half else ()
    return stack(rings_at)


# --- samples ---------------------------------------------------------------------------------------------------------


def drawn(sections: CrossSections, level: cs.Level = cs.LEVELS[0], seed=0) -> cs.Samples:
    return cs.ContourSampler(sections).draw(level, np.random.default_rng(seed))


def test_a_level_has_the_published_points_in_number_and_place() -> None:
    sections = stack({-0.5: (rectangle(-0.5, -0.5, 0.5, 0.5),)} | FAR)
    level = cs.Level(4, 2**-6, 150)
    samples = drawn(sections, level)
    edges, planes = 8, 2
    assert len(samples.points) == cs.count_samples(sections, level) == 2048 * planes + 2**14 + 4 * 4 * edges
    on, off = samples.points[:16], samples.points[16 : 16 + 48]
    bottom = {(x, -0.5, -0.5) for x in (-0.5, -0.25, 0.0, 0.25)}  # fractions 0, 1/4, 1/2, 3/4 of the first edge
    assert {tuple(p) for p in on[:4].tolist()} == bottom
    assert (samples.halves[:16] == 1).all()
    beside_bottom = {(x, y, -0.5) for x, _, _ in bottom for y in (-0.5 - 2**-6, -0.5 + 2**-6)}
    assert beside_bottom <= {tuple(p) for p in off.tolist()}
    corner = np.array([-0.5, -0.5, -0.5])
    around_corner = off[np.isclose(np.linalg.norm(off - corner, axis=1), 2**-6, atol=1e-7)] - corner
    angles = np.sort(np.arctan2(around_corner[:, 1], around_corner[:, 0]))
    # four on the circle, of which two coincide with points beside the two edges that start and end at the corner
    assert np.allclose(np.unique(np.round(angles % (2 * np.pi), 4)), [0, np.pi / 2, np.pi, 3 * np.pi / 2], atol=1e-3)


def test_labels_are_those_of_the_rectangle_that_was_drawn() -> None:
    sections = stack({-0.5: (rectangle(-0.5, -0.4, 0.5, 0.3),), 0.0: ()} | FAR)
    samples = drawn(sections, cs.Level(3, 2**-5, 1))
    x, y, z = samples.points.T.astype(np.float64)
    depth = np.minimum.reduce([x + 0.5, 0.5 - x, y + 0.4, 0.3 - y])
    drawn_plane = z == -0.5
    assert np.array_equal(samples.halves[:12], np.ones((12, 1)))
    assert np.allclose(depth[:12], 0, atol=1e-6)
    decided = drawn_plane & (np.abs(depth) > 1e-6)
    assert decided.sum() > 2048 and np.array_equal(samples.halves[decided, 0], 2 * (depth[decided] > 0))
    empty_plane = z == 0
    assert empty_plane.sum() >= 2048 and not samples.halves[empty_plane].any()
    assert not samples.halves[-(2**14) :].any()
    uniform = samples.points[12 + 36 : 12 + 36 + 2048]
    center = np.array([0.0, -0.05])  # of the vertices
    assert np.abs(uniform[:, :2] - center).max() < 1 and np.abs(uniform[:, :2] - center).max() > 0.99


def test_outside_is_one_spacing_around_the_convex_hull_and_sampled_evenly() -> None:
    box = (rectangle(-0.6, -0.4, 0.6, 0.4),)
    sections = stack({-0.5: box, -0.2: (rectangle(0, 0, 0.1, 0.1),), 0.1: box, 0.4: box})
    hull = cs.outer_hull(sections)
    points = cs.sample_surface(hull, 20_000, np.random.default_rng(1))
    beyond = np.maximum(np.abs(points - [0, 0, -0.05]) - [0.6, 0.4, 0.45], 0)
    distance = np.linalg.norm(beyond, axis=1)
    # the spacing is .3; the ball of few directions is a little flatter than a ball
    assert distance.max() < 0.31 and distance.min() > 0.24
    facets = 2 * (np.array([0.8 * 0.9, 1.2 * 0.9, 1.2 * 0.8]))
    on_facet = (beyond > 0).sum(1) == 1
    shares = [(on_facet & (beyond[:, axis] > 0)).mean() for axis in range(3)]
    assert np.allclose(np.array(shares) / sum(shares), facets / facets.sum(), atol=0.03)
    assert hull.volume * 0.97 < ConvexHull(points).volume < hull.volume


def label_at(sections: CrossSections, x: float, y: float) -> list[int]:
    """What is taught nearest to a point of the first plane, by label."""
    samples = drawn(sections, cs.Level(2, 2**-6, 1))
    on_plane = samples.points[:, 2] == np.float32(sections.planes[0].origin[2])
    points, halves = samples.points[on_plane], samples.halves[on_plane]
    nearest = np.argsort(np.hypot(points[:, 0] - x, points[:, 1] - y))[:5]
    assert (halves[nearest] == halves[nearest[0]]).all()
    return halves[nearest[0]].tolist()


def test_an_island_in_a_hole_is_inside() -> None:
    rings = (
        rectangle(-0.8, -0.8, 0.8, 0.8),
        rectangle(-0.6, -0.6, 0.6, 0.6, hole=True),
        rectangle(-0.3, -0.3, 0.3, 0.3),
    )
    sections = stack({0.0: rings} | FAR)
    assert [label_at(sections, x, 0.0) for x in (0.7, 0.45, 0.0, 0.9)] == [[2], [0], [2], [0]]


def test_in_a_partition_the_innermost_ring_decides_and_a_shared_contour_is_half_of_either() -> None:
    rings = (rectangle(-0.8, -0.8, 0.8, 0.8), rectangle(-0.5, -0.5, 0.5, 0.5, label=2))
    sections = stack({0.0: rings} | FAR, (A, B))
    assert [label_at(sections, x, 0.0) for x in (0.65, 0.0, 0.9)] == [[2, 0], [0, 2], [0, 0]]
    samples = drawn(sections, cs.Level(2, 2**-6, 1))
    outer, inner = samples.halves[:8], samples.halves[8:16]
    assert (outer == [1, 0]).all() and (inner == [1, 1]).all()


def test_overlapping_labels_keep_their_own_rule_and_silence_is_no_absence() -> None:
    rings = (rectangle(-0.8, -0.8, 0.8, 0.8), rectangle(-0.5, -0.5, 0.5, 0.5, label=2))
    sections = stack({0.0: rings} | FAR, (A, B), partition=False)
    assert [label_at(sections, x, 0.0) for x in (0.65, 0.0, 0.9)] == [[2, 0], [2, 2], [0, 0]]
    silent = replace(sections.planes[1], silent_about=frozenset({2}))
    samples = drawn(replace(sections, contours=(sections.planes[0], silent)))
    above = samples.halves[samples.points[:, 2] == 0.5]
    assert len(above) >= 2048 and (above[:, 1] == cs.SILENT).all() and set(above[:, 0]) == {0, 1, 2}


def test_unit_and_place_of_the_input_change_nothing() -> None:
    sections = sliced_ball()
    moved = replace(
        sections,
        contours=tuple(
            Plane(1e5 + 250 * p.origin, p.axes, tuple(Ring(250 * r.vertices, 1) for r in p.rings))
            for p in sections.planes
        ),
    )
    (here, frame), (there, frame_there) = cs.normalised(sections), cs.normalised(moved)
    on_planes = slice(0, -(2**14))  # the triangles around come in an order that rounding decides
    assert np.allclose(drawn(here).points[on_planes], drawn(there).points[on_planes], atol=1e-6)
    assert np.array_equal(drawn(here).halves[on_planes], drawn(there).halves[on_planes])
    vertices = here.extent
    assert np.ptp(vertices, axis=0).max() == pytest.approx(2 / 1.1)
    assert np.allclose(frame_there.to_user(vertices), 1e5 + 250 * frame.to_user(vertices))


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (stack({0.0: (), 1.0: ()}), "no closed contour"),
        (stack({0.0: (circle(0, 0, 1),), 1.0: ()}), "all contours lie in one plane"),
    ],
)
def test_what_gives_no_solid_is_said(sections: CrossSections, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        orex(sections, OrexConfig(), Trainer())


# --- network and loss ------------------------------------------------------------------------------------------------


def slow_logits(field: RefinementField, points: torch.Tensor) -> torch.Tensor:
    """The network as it is described: in every iteration all 66 inputs go through all eight layers."""
    cosines = [torch.cos(points[:, [axis]] * f) for axis in range(3) for f in field.cos_frequencies]
    sines = [torch.sin(points[:, [axis]] * f) for axis in range(3) for f in field.sin_frequencies]
    encoding = torch.cat([points, *cosines, *sines], 1)
    assert encoding.shape[1] == 33
    logits = field.initial[: field.labels].repeat(len(points), 1)
    hidden = field.initial[field.labels :].repeat(len(points), 1)
    all_logits = []
    for i in range(1, 11):
        code = [np.sin(i * 2.0**k) for k in range(16)] + [np.cos(i * 2.0**k) for k in range(16)]
        value = torch.cat([encoding, logits, hidden + points.new_tensor(code)], 1)
        for layer, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
            value = value @ weight.T + bias
            if layer < 7:
                value = torch.where(value > 0, value, 0.01 * value)
        logits, hidden = logits + value[:, : field.labels], value[:, field.labels :]
        all_logits.append(logits)
    return torch.stack(all_logits)


def slow_losses(field: RefinementField, points: torch.Tensor, halves: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The likelihood label by label, the hinge by back-propagating through the back-propagation at every point."""
    points = points.clone().requires_grad_()
    logits = slow_logits(field, points)
    likelihood = torch.zeros((), dtype=points.dtype)
    boundaries = []
    for n, row in enumerate(halves):
        for values in logits[:, n]:
            if field.exclusive and field.labels > 1:
                shares = torch.tensor([1 - row.sum() / 2, *(row / 2)])
                log_p = torch.log_softmax(torch.cat([values.new_zeros(1), -values]), 0)
                likelihood = likelihood - (shares * log_p).sum()
            else:
                for k in np.flatnonzero(row != cs.SILENT):
                    p_inside = 1 / (1 + torch.exp(values[k]))
                    share = row[k] / 2
                    likelihood = likelihood - share * p_inside.log() - (1 - share) * (1 - p_inside).log()
        last = logits[-1, n]
        if field.exclusive and field.labels > 1:
            lead, second = torch.cat([last.new_zeros(1), -last]).sort(descending=True).values[:2]
            boundaries.append(lead - second)
        else:
            boundaries.append(last[last.abs().argmin()])
    (gradients,) = torch.autograd.grad(torch.stack(boundaries).sum(), points, create_graph=True)
    steepness = (gradients.norm(dim=1) - 100).clamp(min=0).mean()
    return likelihood / (10 * len(halves)), 1e-4 * steepness


def steep_field(labels: int, exclusive: bool) -> RefinementField:
    """A field whose gradients lie on both sides of the hinge."""
    field = RefinementField(labels, exclusive, seed=4)
    with torch.no_grad():
        for weight in field.weights:
            weight.mul_(1.3)
    return field


def test_the_network_is_the_published_one_in_size() -> None:
    field = RefinementField(1, True, seed=0)
    assert sum(p.numel() for p in field.parameters()) == 31_436
    assert field.cos_frequencies.tolist() == field.sin_frequencies.tolist() == [1, 2, 4, 8, 16]
    assert 0 <= field.initial.min() and field.initial.max() <= 1
    assert all(0 <= bias.min() and bias.max() <= 1 for bias in field.biases)
    for weight in field.weights:
        assert weight.abs().max() <= np.sqrt(6 / sum(weight.shape))
    assert field(torch.zeros(5, 3)).shape == (10, 5, 1)
    assert torch.equal(RefinementField(1, True, seed=0).weights[0], field.weights[0])
    assert not torch.equal(RefinementField(1, True, seed=1).weights[0], field.weights[0])


@pytest.mark.parametrize(("labels", "exclusive"), [(1, True), (3, True), (3, False)])
def test_a_steps_losses_and_gradients_are_those_of_the_slow_version(labels: int, exclusive: bool) -> None:
    field = steep_field(labels, exclusive).double()
    rng = np.random.default_rng(7)
    points = torch.from_numpy(rng.uniform(-1, 1, (24, 3)))
    halves = 2 * np.eye(labels + 1, dtype=np.uint8)[rng.integers(0, labels + 1, 24)][:, 1:]
    halves[:3] = 0
    halves[:3, 0] = 1
    if not exclusive:
        halves[5:9, 2] = cs.SILENT
    fast = losses(field, points, torch.from_numpy(halves))
    slow = slow_losses(field, points, halves)
    assert 0 < slow[1] < 1
    for ours, theirs in zip(fast, slow, strict=True):
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-7)
        parameters = dict(field.named_parameters())
        gradients = torch.autograd.grad(ours, parameters.values(), retain_graph=True, allow_unused=True)
        truths = torch.autograd.grad(theirs, parameters.values(), retain_graph=True, allow_unused=True)
        for (name, parameter), gradient, truth in zip(parameters.items(), gradients, truths, strict=True):
            # the hinge has no derivative in the biases: none and zero mean the same
            a, b = (torch.zeros_like(parameter) if g is None else g for g in (gradient, truth))
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-7 * b.abs().max().item()), name


def test_single_precision_gives_the_same_step() -> None:
    field = steep_field(1, True)
    points = torch.from_numpy(np.random.default_rng(3).uniform(-1, 1, (500, 3)).astype(np.float32))
    halves = torch.from_numpy(np.random.default_rng(3).integers(0, 3, (500, 1)).astype(np.uint8))
    precise = copy.deepcopy(field).double()
    for ours, theirs in zip(losses(field, points, halves), losses(precise, points.double(), halves), strict=True):
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)
        pairs = zip(
            torch.autograd.grad(ours, list(field.weights), retain_graph=True),
            torch.autograd.grad(theirs, list(precise.weights), retain_graph=True),
            strict=True,
        )
        assert all((a - b).norm() < 1e-3 * b.norm() for a, b in pairs)


def test_without_a_steep_point_the_hinge_is_nothing() -> None:
    field = RefinementField(1, True, seed=0)
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    assert np.linalg.norm(field.gradient(points.numpy(), 0), axis=1).max() < STEEPEST
    likelihood, steepness = losses(field, points, torch.zeros(100, 1, dtype=torch.uint8))
    outside = functional.binary_cross_entropy_with_logits(field(points), torch.ones(10, 100, 1))
    assert steepness.item() == 0 and likelihood.item() == pytest.approx(outside.item(), rel=1e-6)


def test_the_meshers_gradient_is_each_points_own() -> None:
    field = steep_field(2, False).double()
    points = np.random.default_rng(5).uniform(-1, 1, (50, 3))
    h = 1e-6
    logits = lambda x: field(torch.from_numpy(x))[-1, :, 1].detach().numpy()  # noqa: E731
    truth = np.stack([(logits(points + h * e) - logits(points - h * e)) / (2 * h) for e in np.eye(3)], 1)
    field.float()
    close = np.abs(field.gradient(points, 1) - truth).max(1) < 1e-3 * np.abs(truth).max()
    assert close.mean() >= 0.95  # a difference across a kink of the network is no derivative


# --- plan ------------------------------------------------------------------------------------------------------------


def test_the_full_budget_is_the_published_plan() -> None:
    sections = sliced_ball()
    plan = Plan.of(sections, 1.0)
    counts = [cs.count_samples(sections, level) for level in cs.LEVELS]
    unions = [sum(counts[max(0, k - 2) : k + 1]) for k in range(6)]
    epochs = [50, 50, 100, 100, 150, 200]
    assert plan.batch == 2**14
    assert plan.steps == sum(e * -(-n // 2**14) for e, n in zip(epochs, unions, strict=True))
    assert plan.samples == sum(e * n for e, n in zip(epochs, unions, strict=True))
    assert plan.locate(0) == (0, 0, 0)
    assert plan.locate(plan.steps - 1) == (5, 649, -(-unions[5] // 2**14) - 1)
    with pytest.raises(IndexError):
        plan.locate(plan.steps)


def test_a_reduced_plan_keeps_the_steps_and_divides_their_points() -> None:
    sections = sliced_ball()
    full, reduced = Plan.of(sections, 1.0), Plan.of(sections, 1 / 16)
    assert reduced.steps == full.steps and reduced.batch == 2**10
    assert reduced.samples == pytest.approx(full.samples / 16, rel=1e-4)


def test_an_epoch_takes_every_point_once_and_learning_slows_down(monkeypatch: pytest.MonkeyPatch) -> None:
    sections, _ = cs.normalised(sliced_ball(4))
    stage = OrexStage(sections, Plan.of(sections, 1.0, (cs.Level(2, 2**-4, 30),)), seed=0, device="cpu")
    seen: list[torch.Tensor] = []

    def watched(
        field: RefinementField, points: torch.Tensor, halves: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(points)
        zero = sum(p.sum() for p in field.parameters()) * 0
        return zero, zero

    monkeypatch.setattr("recon.methods.orex.stage.losses", watched)
    rates = []
    for i in range(stage.steps):
        stage.step(i)
        rates.append(stage.optimizer.param_groups[0]["lr"])
    per_epoch = stage.steps // 30
    epoch = np.concatenate([p.numpy() for p in seen[:per_epoch]])
    again = np.concatenate([p.numpy() for p in seen[per_epoch : 2 * per_epoch]])
    everything = drawn(sections, stage.plan.levels[0], seed=(0, 0)).points
    assert not np.array_equal(epoch, again)
    assert np.array_equal(np.sort(epoch.view("f4,f4,f4"), axis=0), np.sort(everything.view("f4,f4,f4"), axis=0))
    assert np.allclose(rates[::per_epoch], [1e-2] * 10 + [9e-3] * 10 + [8.1e-3] * 10)


# --- surfaces --------------------------------------------------------------------------------------------------------


class Drawn:
    """Stands for a trained field: logits given by formulas, and a count of the points asked."""

    def __init__(self, *logits, exclusive: bool = True) -> None:
        self.formulas, self.labels, self.exclusive, self.asked = logits, len(logits), exclusive, 0

    def evaluate(self, points: np.ndarray) -> np.ndarray:
        self.asked += len(points)
        return np.stack([logit(*points.T) for logit in self.formulas], 1).astype(np.float32)

    def gradient(self, points: np.ndarray, label: int) -> np.ndarray:
        h = 1e-5
        logit = self.formulas[label]
        return np.stack([logit(*(points + h * e).T) - logit(*(points - h * e).T) for e in np.eye(3)], 1) / (2 * h)


def ball(x, y, z):
    return np.sqrt(x**2 + y**2 + z**2) - 0.6


def test_a_ball_is_found_by_asking_few_nodes() -> None:
    inner, _ = cs.normalised(sliced_ball())
    field = Drawn(ball)
    (mesh,) = surfaces(field, inner, 160)
    assert mesh.is_watertight and mesh.euler_number == 2
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=1e-3)
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.6).max() < 1e-3
    assert field.asked < 0.12 * np.prod(lattice_around(cs.outer_hull(inner), 160).shape)


def test_labels_near_boundaries_are_those_of_the_whole_lattice() -> None:
    inner, _ = cs.normalised(sliced_ball())
    field = Drawn(lambda x, y, z: ball(x, y, z) + 0.15 * np.sin(9 * x) * np.sin(9 * y), lambda x, y, z: x + y - z - 0.5)
    lattice = Lattice(np.diag([0.05, 0.03, 0.04, 1.0]) + 1e-3 * np.eye(4, k=1), (38, 62, 45))  # no multiples of four
    found = label_lattice(field.evaluate, lattice, np.zeros((0, 3)))
    nodes = np.stack(np.unravel_index(np.arange(38 * 62 * 45), lattice.shape), 1)
    logits = field.evaluate(lattice.points(nodes))
    truth = np.where(logits.min(1) < 0, logits.argmin(1) + 1, 0).reshape(lattice.shape)
    assert np.array_equal(found.labels, truth)
    assert np.array_equal(found.logits, logits[found.known])
    mixed = np.zeros(lattice.shape, bool)
    for axis in range(3):
        differ = np.diff(truth, axis=axis) != 0
        mixed |= np.pad(differ, [(0, a == axis) for a in range(3)]) | np.pad(differ, [(a == axis, 0) for a in range(3)])
    assert np.isin(np.flatnonzero(mixed), found.known).all()


def test_a_label_that_nobody_drew_and_the_field_does_not_have_is_empty() -> None:
    inner, _ = cs.normalised(sliced_ball())
    inner = replace(inner, labels=(A, B), partition=False)
    inner = replace(inner, contours=tuple(replace(p, silent_about=frozenset({2})) for p in inner.planes))
    field = Drawn(ball, lambda x, y, z: 1 + 0 * x, exclusive=False)
    drawn_label, other = surfaces(field, inner, 40)
    assert drawn_label.is_watertight and len(other.faces) == 0
    found = label_lattice(Drawn(lambda x, y, z: 1 + 0 * x).evaluate, Lattice(np.eye(4), (9, 9, 9)), np.zeros((0, 3)))
    assert not found.labels.any() and len(found.known) == 0


def test_what_is_thinner_than_a_coarse_cell_is_found_where_it_was_drawn() -> None:
    sections = stack({z: (rectangle(-0.5, -0.011, 0.5, 0.013),) for z in (-0.5, 0.0, 0.5)})
    inner, _ = cs.normalised(sections)

    def plate(x, y, z):
        return np.maximum.reduce([np.abs(x) - 0.5, np.abs(y) - 0.012, np.abs(z) - 0.6])

    (mesh,) = surfaces(Drawn(plate), inner, 200)
    assert mesh.is_watertight and mesh.volume == pytest.approx(8 * 0.5 * 0.012 * 0.6, rel=0.05)


def test_parts_and_bubbles_that_no_plane_cuts_are_left_out() -> None:
    inner, _ = cs.normalised(sliced_ball(4))
    heights = sorted(plane.origin[2] for plane in inner.planes)
    between = np.array([0.25, 0, (heights[1] + heights[2]) / 2])

    def holed(x, y, z):
        bubble = 0.1 - np.linalg.norm(np.stack([x, y, z], 1) - between, axis=1)
        crumb = np.linalg.norm(np.stack([x, y, z], 1) - between - [0.55, 0, 0], axis=1) - 0.1
        return np.minimum(np.maximum(ball(x, y, z), bubble), crumb)

    (mesh,) = surfaces(Drawn(holed), inner, 100)
    assert mesh.is_watertight and mesh.euler_number == 2
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.01)


def test_what_reaches_beyond_what_was_taught_is_closed_there() -> None:
    inner, _ = cs.normalised(sliced_ball())
    (mesh,) = surfaces(Drawn(lambda x, y, z: -1 - 0 * x), inner, 80)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(cs.outer_hull(inner).volume, rel=0.02)


def test_labels_that_share_space_out_leave_no_gap_and_no_overlap() -> None:
    inner, _ = cs.normalised(sliced_ball())
    inner = replace(inner, labels=(A, B))
    below, above = (
        (lambda x, y, z: np.maximum(ball(x, y, z), x - 0.1)),
        (lambda x, y, z: np.maximum(ball(x, y, z), 0.1 - x)),
    )
    left, right = surfaces(Drawn(below, above), inner, 100)
    whole = 4 / 3 * np.pi * 0.6**3
    cap = np.pi * 0.5**2 * (3 * 0.6 - 0.5) / 3
    assert left.is_watertight and right.is_watertight
    assert right.volume == pytest.approx(cap, rel=0.01) and left.volume == pytest.approx(whole - cap, rel=0.01)
    shared = {tuple(v) for v in np.round(left.vertices, 9)} & {tuple(v) for v in np.round(right.vertices, 9)}
    assert np.abs(np.array(list(shared))[:, 0] - 0.1).max() < 0.02 and len(shared) > 1000


def test_overlapping_labels_keep_a_whole_surface_each() -> None:
    inner, _ = cs.normalised(sliced_ball())
    inner = replace(inner, labels=(A, B), partition=False)
    field = Drawn(ball, lambda x, y, z: ball(x, y, z) + 0.3, exclusive=False)
    outer, core = surfaces(field, inner, 100)
    assert outer.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.01)
    assert core.volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.01)


# --- the method ------------------------------------------------------------------------------------------------------


class Instead(Trainer):
    """Trains nothing: gives a drawn field in place of the stage's."""

    def __init__(self, field: Drawn) -> None:
        super().__init__()
        self.field = field

    def __call__(self, stage: Stage) -> Any:
        self.stage = stage
        return self.field


def test_surfaces_stand_in_the_users_coordinates() -> None:
    planes = [replace(p, origin=100 * p.origin + [10, 20, 30]) for p in sliced_ball().planes]
    planes = [replace(p, rings=tuple(Ring(100 * r.vertices, 1) for r in p.rings)) for p in planes]
    train = Instead(Drawn(ball))
    scene = orex(CrossSections((A,), tuple(planes), unit="mm"), OrexConfig(resolution=100), train)
    mesh = scene.in_user_frame().objects["a"]
    assert scene.frame.unit == "mm" and scene.labels == (A,) and scene.label_grid is None
    assert np.allclose(mesh.bounds, [np.array([10, 20, 30]) + side * 110 * 0.6 for side in (-1, 1)], atol=0.5)
    assert scene.notes == ("orex, reduced: trained on 8.0 million samples, 13 % of the published",)
    assert train.stage.preview().objects["a"].is_watertight  # type: ignore[union-attr]


def test_a_label_without_an_inside_is_said() -> None:
    sections = replace(sliced_ball(), labels=(A, B))
    nowhere = Drawn(ball, lambda x, y, z: 1 + 0 * x)
    scene = orex(sections, OrexConfig(resolution=40, budget=1.0), Instead(nowhere))
    assert list(scene.objects) == ["a"] and scene.labels == (A,) and scene.notes == ("b: the field has no inside",)


def test_a_label_volume_gets_labels_on_its_own_voxels() -> None:
    affine = np.array([[0, 3.0, 0, -60], [2.0, 0, 0, 5], [0, 0, 4.0, 100], [0, 0, 0, 1]])
    i, j, k = np.indices((31, 22, 19))
    body = ((i - 15) / 14) ** 2 + ((j - 10.5) / 9.5) ** 2 + ((k - 9) / 8.5) ** 2 < 1
    labels = (body * np.where(i < 15, 4, 7)).astype(np.uint16)
    volume = LabelVolume(labels, affine, axis=2, kept=np.arange(0, 19, 2))
    sections = CrossSections((replace(A, id=4), replace(B, id=7)), volume=volume, unit="mm")
    _, frame = cs.normalised(sections)

    def ellipsoid(x, y, z):
        """The truth, asked in the field's coordinates."""
        u, v, w = ((frame.to_user(np.stack([x, y, z], 1)) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).T
        return ((u - 15) / 14) ** 2 + ((v - 10.5) / 9.5) ** 2 + ((w - 9) / 8.5) ** 2 - 1, u - 14.5

    low, high = (lambda *p: np.maximum(*ellipsoid(*p))), (lambda *p: np.maximum(ellipsoid(*p)[0], -ellipsoid(*p)[1]))
    scene = orex(sections, OrexConfig(resolution=40, budget=1.0), Instead(Drawn(low, high)))
    assert scene.label_grid is not None and np.array_equal(scene.label_grid.affine, affine)
    assert np.array_equal(scene.label_grid.labels, labels)


def test_minutes_become_the_largest_budget_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    inner, _ = cs.normalised(sliced_ball())
    nodes = expected_evaluations(inner, 300)
    monkeypatch.setattr("recon.methods.orex.plan._seconds_a_step", lambda labels, batch, device: 5e-3 + 40e-6 * batch)

    def seconds(budget: float) -> float:
        plan = Plan.of(inner, budget)
        return 5e-3 * plan.steps + 1.6 * 40e-6 * plan.samples + 40e-6 / 4 * nodes

    for minutes in (1.0, 5.0, 30.0):
        budget = fit_to_minutes(sliced_ball(), OrexConfig(), "cpu", minutes).budget
        assert budget is not None and seconds(budget) <= 60 * minutes < seconds(budget * 1.05)
    assert fit_to_minutes(sliced_ball(), OrexConfig(), "cpu", 1e6).budget == 1


def test_a_budget_can_be_measured_on_this_machine() -> None:
    config = fit_to_minutes(sliced_ball(), OrexConfig(resolution=100), "cpu", 60.0)
    assert config.resolution == 100 and config.budget is not None and 0.01 < config.budget <= 1


def test_elevation_contours_are_sent_to_the_method_for_them() -> None:
    plane = Plane(np.zeros(3), np.eye(3)[:2], lines=(np.zeros((2, 2)),))
    with pytest.raises(UserError, match="height-field"):
        orex(CrossSections((A,), (plane,)), OrexConfig(), Trainer())


# --- training --------------------------------------------------------------------------------------------------------


def trained(sections: CrossSections) -> trimesh.Trimesh:
    """The surface after some hundred steps on batches of 256, in the field's coordinates."""
    inner, _ = cs.normalised(sections)
    field = Trainer()(OrexStage(inner, Plan.of(inner, 0.012, SHORT), 0, "cpu"))
    return surfaces(field, inner, 64)[0]


def iou(mesh: trimesh.Trimesh, sections: CrossSections, truth) -> float:
    """Of a mesh in the field's coordinates and the solid that the sections were cut from."""
    _, frame = cs.normalised(sections)
    points = np.random.default_rng(0).uniform(-1.1, 1.1, (20_000, 3))
    ours, theirs = mesh.contains(points), truth(*frame.to_user(points).T)
    return (ours & theirs).sum() / (ours | theirs).sum()


def test_three_hundred_small_steps_find_a_ball() -> None:
    mesh = trained(sliced_ball(9))
    assert mesh.is_watertight and mesh.euler_number == 2
    # three seeds reached .91 to .96; the caps are a guess, and a twentieth of the ball
    assert iou(mesh, sliced_ball(9), lambda x, y, z: x**2 + y**2 + z**2 < 1) > 0.88


@pytest.mark.slow
def test_four_hundred_small_steps_find_a_torus() -> None:
    mesh = trained(sliced_torus())
    assert mesh.is_watertight and mesh.euler_number == 0
    # three seeds reached .91 to .95
    assert iou(mesh, sliced_torus(), lambda x, y, z: (np.hypot(x, y) - 1) ** 2 + z**2 < 0.45**2) > 0.88


KILLED = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests/recon/methods")!r}]
from pathlib import Path
from typing import Any
import numpy as np
from test_orex import SHORT, cs, sliced_ball
from recon.methods.orex.plan import Plan
from recon.methods.orex.stage import OrexStage
from recon.training import Stage, Trainer
import torch
torch.set_num_threads(1)
inner, _ = cs.normalised(sliced_ball())
stage = OrexStage(inner, Plan.of(inner, 1e-4, SHORT), seed=3, device="cpu")
said = lambda progress: print(progress.step, flush=True)
field = Trainer(Path(sys.argv[1]), seed=3, checkpoint_seconds=0.2, on_progress=said)(stage)
np.savez(sys.argv[2], **stage.state_dict())
"""


@pytest.mark.slow
def test_killed_at_several_moments_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    assert_killed_runs_end_with_the_same_bits(KILLED, tmp_path, 100, 3, 10)  # 40 of the steps are in the first level
