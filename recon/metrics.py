"""How far a result is from the truth, from the contours it was made of, and from slices it did not see.

Definitions stand in docs/metrics.md. Distances go from points to the exact other surface, never to samples of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from jaxtyping import Float64, Int64

from recon.errors import UserError
from recon.inputs import BACKGROUND, CrossSections
from recon.scene import LabelGrid
from recon.surface.closest import TriangleIndex
from recon.surface.topology import Topology

if TYPE_CHECKING:
    import trimesh

SURFACE_SAMPLES = 200_000
VOLUME_SAMPLES = 200_000
CONTOUR_SAMPLES = 20_000
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
    center = _checked(truth, "truth").mean((0, 1))
    mine, true = _Surface(result, center, "result", threads), _Surface(truth, center, "truth", threads)
    low, high = true.triangles.min((0, 1)), true.triangles.max((0, 1))
    diagonal = float(np.linalg.norm(high - low))
    rng = np.random.default_rng(seed)
    to_truth, cosine_there = mine.distances_to(true, rng)
    to_result, cosine_back = true.distances_to(mine, rng)
    chamfer = float(to_truth.mean() + to_result.mean()) / 2
    closed = mine.topology.is_watertight and true.topology.is_watertight
    return Comparison(
        chamfer_l1=chamfer,
        chamfer_percent=100 * chamfer / diagonal,
        f_score_0_5=_f_score(to_truth, to_result, 0.005 * diagonal),
        f_score_1=_f_score(to_truth, to_result, 0.01 * diagonal),
        normal_consistency=float(cosine_there.mean() + cosine_back.mean()) / 2,
        iou=_iou(mine.index, true.index, low, high, rng) if closed else None,
        components=mine.topology.parts,
        boundary_loops=mine.topology.boundary_loops,
        non_manifold_edges=mine.topology.non_manifold_edges,
        watertight=mine.topology.is_watertight,
        euler_number=mine.topology.euler_number,
        boundary_error=_boundary_error(mine, true, diagonal, rng),
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
        self.topology = Topology(np.asarray(mesh.faces), len(mesh.vertices))
        self.index = TriangleIndex(self.triangles, threads)
        normals = np.cross(self.triangles[:, 1] - self.triangles[:, 0], self.triangles[:, 2] - self.triangles[:, 0])
        lengths = np.linalg.norm(normals, axis=1)
        self.areas = lengths / 2
        self.normals = normals / np.maximum(lengths, np.finfo(float).tiny)[:, None]

    def distances_to(
        self, other: _Surface, rng: np.random.Generator
    ) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """From area-uniform samples to the other surface: distances, and |cos| between the normals there."""
        chosen = _choose(self.areas, SURFACE_SAMPLES, rng)
        closest = other.index.closest(_random_points_in(self.triangles[chosen], rng))
        cosines = np.abs((self.normals[chosen] * other.normals[closest.triangles]).sum(1))
        return closest.distances, cosines

    @property
    def boundary(self) -> Float64[np.ndarray, "s 2 3"]:
        """The segments of the boundary curve."""
        sides = self.topology.boundary_sides
        return np.stack([self.triangles[sides // 3, sides % 3], self.triangles[sides // 3, (sides + 1) % 3]], 1)


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


def _f_score(to_truth: np.ndarray, to_result: np.ndarray, threshold: float) -> float:
    """Harmonic mean of precision (result near the truth) and recall (truth near the result)."""
    precision, recall = float((to_truth <= threshold).mean()), float((to_result <= threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


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


def _boundary_error(mine: _Surface, true: _Surface, diagonal: float, rng: np.random.Generator) -> float | None:
    """Mean distance from length-uniform samples of the result's boundary to the truth's, in percent."""
    boundary, true_boundary = mine.boundary, true.boundary
    if len(boundary) == 0 or len(true_boundary) == 0:
        return None
    points = _sample_segments(boundary, CONTOUR_SAMPLES, rng)
    return float(100 * TriangleIndex.of_segments(true_boundary).closest(points).distances.mean() / diagonal)


def _contour_segments(sections: CrossSections) -> Float64[np.ndarray, "s 2 3"]:
    """All edges of all rings and lines, in the user's coordinates."""
    segments = [np.empty((0, 2, 3))]
    for plane in sections.planes:
        curves = [np.concatenate([ring.vertices, ring.vertices[:1]]) for ring in plane.rings] + list(plane.lines)
        for curve in map(plane.to_world, curves):
            segments.append(np.stack([curve[:-1], curve[1:]], 1))
    return np.concatenate(segments)
