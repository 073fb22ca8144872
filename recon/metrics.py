"""How far a result is from the truth, from the contours it was made of, and from slices it did not see.

Definitions stand in docs/metrics.md. Distances go from points to the exact other surface, never to samples of it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import linear_sum_assignment

from recon.errors import UserError
from recon.inputs import CrossSections
from recon.scene import LabelGrid
from recon.slices import BACKGROUND
from recon.surface.boundary import Boundary, boundary_in
from recon.surface.closest import TriangleIndex
from recon.surface.topology import Topology

if TYPE_CHECKING:
    import trimesh

SURFACE_SAMPLES = 200_000
VOLUME_SAMPLES = 200_000
CONTOUR_SAMPLES = 20_000
LOOP_SAMPLES = 200
BOX_PADDING = 0.05


class Comparison(msgspec.Struct, frozen=True):
    """A result beside the truth. Percent are of the diagonal of the truth's bounding box."""

    chamfer_l1: float
    """Mean of the two mean distances from each surface to the other, in the meshes' unit."""
    chamfer_percent: float
    """The same in percent."""
    f_score_0_5: float = msgspec.field(name="f_score_0.5")
    """Harmonic mean of the shares of each surface within 0.5 percent of the other."""
    f_score_1: float
    """The same within 1 percent."""
    normal_consistency: float
    """Mean |cos| of the angle between a point's normal and that at the closest point of the other, both ways."""
    iou: float | None
    """Volume in both over volume in either; None unless both are watertight."""
    components: int
    boundary_loops: int
    non_manifold_edges: int
    watertight: bool
    euler_number: int
    boundary_error: float | None
    """Mean distance from the result's boundary curve to the truth's, in percent; None where either has none."""


class SurfaceDistances(NamedTuple):
    """From area-uniform samples of a result and of the truth: the distances to the other surface, in the meshes' unit,
    and |cos| of the angle between a sample's normal and that at its closest point."""

    to_truth: Float64[np.ndarray, " n"]
    cosines_there: Float64[np.ndarray, " n"]
    to_result: Float64[np.ndarray, " n"]
    cosines_back: Float64[np.ndarray, " n"]

    @property
    def chamfer(self) -> float:
        """Mean of the two mean distances."""
        return float(self.to_truth.mean() + self.to_result.mean()) / 2

    def f_score(self, threshold: float) -> float:
        """Harmonic mean of precision (result within the threshold of the truth) and recall (truth of the result)."""
        precision, recall = (float((distances <= threshold).mean()) for distances in (self.to_truth, self.to_result))
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    @property
    def normal_consistency(self) -> float:
        """Mean |cos|, both ways."""
        return float(self.cosines_there.mean() + self.cosines_back.mean()) / 2


class BoundaryComparison(msgspec.Struct, frozen=True):
    """The boundary curves of a result beside the truth's, paired one to one."""

    to_truth: float | None
    """Mean distance from the result's boundary to the truth's, in the meshes' unit; None where either has none."""
    to_result: float | None
    """Mean distance from the truth's boundary to the result's; None where either has none."""
    loops: int
    truth_loops: int
    pairs: int
    """Loops of the result that run along a loop of the truth, which no other runs along."""

    @property
    def surplus(self) -> int:
        """Loops that the truth does not have: holes and rims that do not belong there."""
        return self.loops - self.pairs

    @property
    def closed(self) -> int:
        """The truth's loops that the result does not have: holes closed by mistake."""
        return self.truth_loops - self.pairs


class ContourError(msgspec.Struct, frozen=True):
    """Distances from the input's contours to the result, in percent of the diagonal of the contours' box (or the
    truth's): their mean, and what 95 % of them are within."""

    mean: float
    quantile_95: float


class HeldOutDice(msgspec.Struct, frozen=True):
    """Agreement on the slices that were left out: Dice for each label that stands in them or in the result there (by
    name), the mean of those, and the share of the voxels that either has a label at which both have the same."""

    labels: dict[str, float]
    mean: float
    foreground_agreement: float


def compare(result: trimesh.Trimesh, truth: trimesh.Trimesh, seed: int = 0, threads: int = 1) -> Comparison:
    """Measures a result against the truth, both in the same coordinates.

    Raises:
        UserError: one of them has no faces or coordinates that are not finite.
    """
    mine, true = _measured(result, truth, threads)
    low, high = true.triangles.min((0, 1)), true.triangles.max((0, 1))
    diagonal = float(np.linalg.norm(high - low))
    rng = np.random.default_rng(seed)
    distances = _distances(mine, true, SURFACE_SAMPLES, rng)
    closed = mine.topology.is_watertight and true.topology.is_watertight
    to_truth = _boundary_distance(mine.boundary.segments, true.boundary.segments, rng)
    return Comparison(
        chamfer_l1=distances.chamfer,
        chamfer_percent=100 * distances.chamfer / diagonal,
        f_score_0_5=distances.f_score(0.005 * diagonal),
        f_score_1=distances.f_score(0.01 * diagonal),
        normal_consistency=distances.normal_consistency,
        iou=_iou(mine.index, true.index, low, high, rng) if closed else None,
        components=mine.topology.parts,
        boundary_loops=mine.topology.boundary_loops,
        non_manifold_edges=mine.topology.non_manifold_edges,
        watertight=mine.topology.is_watertight,
        euler_number=mine.topology.euler_number,
        boundary_error=None if to_truth is None else 100 * to_truth / diagonal,
    )


def surface_distances(
    result: trimesh.Trimesh, truth: trimesh.Trimesh, samples: int = SURFACE_SAMPLES, seed: int = 0, threads: int = 1
) -> SurfaceDistances:
    """The distances that `compare` summarises, from `samples` points of each surface.

    Raises:
        UserError: one of them has no faces or coordinates that are not finite.
    """
    mine, true = _measured(result, truth, threads)
    return _distances(mine, true, samples, np.random.default_rng(seed))


def compare_boundaries(
    result: trimesh.Trimesh, truth: trimesh.Trimesh, near: float, seed: int = 0, threads: int = 1
) -> BoundaryComparison:
    """Compares the boundary curves, and pairs the loops so that the sum of the pairs' distances is least.

    Two loops may be a pair where the mean distances from each to the other are both below `near`, in the meshes' unit:
    then they run along each other, whereas a small hole near a long rim is no pair with it.

    Raises:
        UserError: one of them has no faces or coordinates that are not finite.
    """
    mine, true = _measured(result, truth, threads)
    rng = np.random.default_rng(seed)
    loops, true_loops = mine.boundary.loops, true.boundary.loops
    return BoundaryComparison(
        to_truth=_boundary_distance(mine.boundary.segments, true.boundary.segments, rng),
        to_result=_boundary_distance(true.boundary.segments, mine.boundary.segments, rng),
        loops=len(loops),
        truth_loops=len(true_loops),
        pairs=_count_pairs(loops, true_loops, near, rng),
    )


def contour_error(
    mesh: trimesh.Trimesh,
    sections: CrossSections,
    truth: trimesh.Trimesh | None = None,
    seed: int = 0,
    threads: int = 1,
) -> ContourError | None:
    """How far the mesh passes from the contours that it was made of, all in the user's coordinates.

    The contours of a label volume are those traced around the pixels of its kept slices. None without any contour.

    Raises:
        UserError: the mesh has no faces.
    """
    segments = _contour_segments(sections)
    if len(segments) == 0:
        return None
    box = segments.reshape(-1, 3) if truth is None else truth.bounds
    diagonal = np.linalg.norm(box.max(0) - box.min(0))
    points = _sample_segments(segments, CONTOUR_SAMPLES, np.random.default_rng(seed))
    distances = TriangleIndex(_checked(mesh, "mesh"), threads).closest(points).distances
    mean, quantile = distances.mean(), np.quantile(distances, 0.95)
    return ContourError(mean=float(100 * mean / diagonal), quantile_95=float(100 * quantile / diagonal))


def held_out_dice(sections: CrossSections, grid: LabelGrid) -> HeldOutDice:
    """Compares a reconstructed label grid with the slices of the input's volume that were left out.

    Raises:
        ValueError: the sections have no volume, or the grid is not on the volume's voxels.
    """
    volume = sections.volume
    if volume is None:
        raise ValueError("contours have no slices to leave out")
    if grid.labels.shape != volume.labels.shape or not np.allclose(grid.affine, volume.affine):
        raise ValueError("the label grid is not on the voxels of the volume")
    mine, true = (np.take(labels, volume.left_out, volume.axis) for labels in (grid.labels, volume.labels))
    dice = {}
    for label in sections.labels:
        in_mine, in_true = mine == label.id, true == label.id
        size = int(in_mine.sum() + in_true.sum())
        if size:
            dice[label.name] = float(2 * (in_mine & in_true).sum() / size)
    foreground = (mine != BACKGROUND) | (true != BACKGROUND)
    return HeldOutDice(
        labels=dice,
        mean=float(np.mean(list(dice.values()))) if dice else 1.0,
        foreground_agreement=float((mine == true)[foreground].mean()) if foreground.any() else 1.0,
    )


class _Surface:
    """A mesh moved by -center in float64, with what the metrics ask of it."""

    def __init__(self, mesh: trimesh.Trimesh, center: Float64[np.ndarray, "3"], name: str, threads: int) -> None:
        self.triangles = _checked(mesh, name) - center
        self._vertices = np.asarray(mesh.vertices, np.float64) - center
        self.topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
        self.index = TriangleIndex(self.triangles, threads)
        normals = np.cross(self.triangles[:, 1] - self.triangles[:, 0], self.triangles[:, 2] - self.triangles[:, 0])
        lengths = np.linalg.norm(normals, axis=1)
        self.areas = lengths / 2
        self.normals = normals / np.maximum(lengths, np.finfo(float).tiny)[:, None]

    def distances_to(
        self, other: _Surface, samples: int, rng: np.random.Generator
    ) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """From area-uniform samples to the other surface: distances, and |cos| between the normals there."""
        chosen = _choose(self.areas, samples, rng)
        closest = other.index.closest(_random_points_in(self.triangles[chosen], rng))
        cosines = np.abs((self.normals[chosen] * other.normals[closest.triangles]).sum(1))
        return closest.distances, cosines

    @cached_property
    def boundary(self) -> Boundary:
        """The boundary curves."""
        return boundary_in(self.topology, self._vertices)


def _measured(result: trimesh.Trimesh, truth: trimesh.Trimesh, threads: int) -> tuple[_Surface, _Surface]:
    """Both surfaces, moved to where the truth's centre is the origin."""
    center = _checked(truth, "truth").mean((0, 1))
    return _Surface(result, center, "result", threads), _Surface(truth, center, "truth", threads)


def _distances(mine: _Surface, true: _Surface, samples: int, rng: np.random.Generator) -> SurfaceDistances:
    return SurfaceDistances(*mine.distances_to(true, samples, rng), *true.distances_to(mine, samples, rng))


def _checked(mesh: trimesh.Trimesh, name: str) -> Float64[np.ndarray, "f 3 3"]:
    """The triangles of a mesh that can be measured."""
    triangles = np.asarray(mesh.vertices, np.float64)[np.asarray(mesh.faces)]
    if len(triangles) == 0:
        raise UserError(f"the {name} has no faces: there is nothing to measure")
    if not np.isfinite(triangles).all():
        raise UserError(f"the {name} has coordinates that are not finite numbers")
    return triangles


def _choose(weights: Float64[np.ndarray, " n"], count: int, rng: np.random.Generator) -> Int64[np.ndarray, " count"]:
    """Indices drawn in proportion to the weights, one from each of `count` equal shares of their sum (less noise)."""
    cumulative = np.cumsum(weights)
    drawn = (np.arange(count) + rng.random(count)) / count * cumulative[-1]
    return np.searchsorted(cumulative, drawn, side="right").clip(max=len(weights) - 1)


def _random_points_in(triangles: Float64[np.ndarray, "n 3 3"], rng: np.random.Generator) -> Float64[np.ndarray, "n 3"]:
    """A uniform point in each triangle: a point of the unit square, folded over its diagonal."""
    u, v = rng.random((2, len(triangles), 1))
    folded = u + v > 1
    u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
    a, b, c = triangles.transpose(1, 0, 2)
    return a + u * (b - a) + v * (c - a)


def _sample_segments(
    segments: Float64[np.ndarray, "s 2 3"], count: int, rng: np.random.Generator
) -> Float64[np.ndarray, "n 3"]:
    """Points uniform by length."""
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    chosen = _choose(np.linalg.norm(along, axis=1), count, rng)
    return start[chosen] + rng.random((count, 1)) * along[chosen]


def _iou(
    mine: TriangleIndex,
    true: TriangleIndex,
    low: Float64[np.ndarray, "3"],
    high: Float64[np.ndarray, "3"],
    rng: np.random.Generator,
) -> float:
    """Intersection over union, counted on uniform points of the truth's box, each side of it padded."""
    padding = BOX_PADDING * (high - low)
    points = rng.uniform(low - padding, high + padding, (VOLUME_SAMPLES, 3))
    in_mine, in_true = mine.contains(points), true.contains(points)
    return float((in_mine & in_true).sum() / max(int((in_mine | in_true).sum()), 1))


def _boundary_distance(
    curve: Float64[np.ndarray, "s 2 3"], other: Float64[np.ndarray, "t 2 3"], rng: np.random.Generator
) -> float | None:
    """Mean distance from length-uniform samples of a curve to the other; None where either is empty."""
    if len(curve) == 0 or len(other) == 0:
        return None
    points = _sample_segments(curve, CONTOUR_SAMPLES, rng)
    return float(TriangleIndex.of_segments(other).closest(points).distances.mean())


def _count_pairs(loops: list[np.ndarray], true_loops: list[np.ndarray], near: float, rng: np.random.Generator) -> int:
    """How many loops find a partner nearer than `near` when each has one at most."""
    if not loops or not true_loops:
        return 0
    forth = _loop_distances(loops, true_loops, np.ones((len(loops), len(true_loops)), bool), rng)
    back = _loop_distances(true_loops, loops, forth.T < near, rng).T
    costs = np.minimum(np.maximum(forth, back), near)
    paired = linear_sum_assignment(costs)
    return int((costs[paired] < near).sum())


def _loop_distances(
    loops: list[np.ndarray],
    others: list[np.ndarray],
    wanted: Bool[np.ndarray, "n m"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, "n m"]:
    """Mean distance from each loop to each other one, where wanted; infinite elsewhere."""
    points = np.stack([_sample_segments(loop, LOOP_SAMPLES, rng) for loop in loops])
    found = np.full(wanted.shape, np.inf)
    for other, rows in enumerate(wanted.T):
        if rows.any():
            distances = TriangleIndex.of_segments(others[other]).closest(points[rows].reshape(-1, 3)).distances
            found[rows, other] = distances.reshape(-1, LOOP_SAMPLES).mean(1)
    return found


def _contour_segments(sections: CrossSections) -> Float64[np.ndarray, "s 2 3"]:
    """All edges of all rings and lines, in the user's coordinates."""
    segments = [np.empty((0, 2, 3))]
    for plane in sections.planes:
        curves = [np.concatenate([ring.vertices, ring.vertices[:1]]) for ring in plane.rings] + list(plane.lines)
        for curve in map(plane.to_world, curves):
            segments.append(np.stack([curve[:-1], curve[1:]], 1))
    return np.concatenate(segments)
