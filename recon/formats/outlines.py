"""Drawn contours, checked and mended: what the readers of CSL and RTSTRUCT share.

An outline should be a simple closed polygon, and outlines of one plane should not cross. Files break both rules:
they repeat vertices, cross themselves, or leave a region through a seam of no width to draw its hole (a keyhole).
What such an outline encloses is settled by the even-odd rule: a point is inside where a ray from it crosses the
outline an odd number of times. The result is simple again: outer rings and holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int
from numba import njit

from recon.errors import UserError
from recon.slices import Ring

MAX_CROSSINGS = 10_000
"""More crossings than this in one plane are no outline but noise; resolving them would take unbounded memory."""


class Remarks:
    """Oddities met while reading a file, told as one sentence for each kind with the places where it was met."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, list[str]] = {}

    def add(self, kind: str, place: str) -> None:
        """Counts one oddity; `kind` reads as the subject of a list ("Contours without area, left out")."""
        self._places.setdefault(kind, []).append(place)

    def sentences(self) -> tuple[str, ...]:
        """E.g. "Contours without area, left out: 3 (plane 2, plane 5)."."""
        return tuple(self._sentence(kind, places) for kind, places in self._places.items())

    def wrong(self, place: str, sentence: str) -> UserError:
        """What cannot be read at all, to be raised."""
        return UserError(f"{self._path}, {place}: {sentence}")

    @staticmethod
    def _sentence(kind: str, places: list[str]) -> str:
        distinct = list(dict.fromkeys(places))
        shown = ", ".join(distinct[:5]) + (f" and {len(distinct) - 5} more" if len(distinct) > 5 else "")
        return f"{kind}: {len(places)} ({shown})."


@dataclass(frozen=True)
class PlaneFit:
    """The plane of least squares through points: `normal` is of unit length and either sign.

    `deviation` is the largest distance of a point from it, `noise` the root mean square of those distances and
    `breadth` that of the points' smaller in-plane spread: where noise is near breadth the normal means nothing.
    """

    origin: Float64[np.ndarray, "3"]
    normal: Float64[np.ndarray, "3"]
    deviation: float
    noise: float
    breadth: float


def fit_plane(points: Float64[np.ndarray, "n 3"]) -> PlaneFit:
    """The plane through the centroid of at least three points whose normal is their last principal direction."""
    origin = points.mean(0)
    _, spread, directions = np.linalg.svd(points - origin, full_matrices=False)
    normal = directions[2]
    deviation = float(np.abs((points - origin) @ normal).max())
    return PlaneFit(origin, normal, deviation, *(spread[[2, 1]] / np.sqrt(len(points))).tolist())


def in_plane_axes(normal: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "2 3"]:
    """Orthonormal u, v with u x v = normal; u is the coordinate axis nearest to the plane, projected into it (for a
    normal along +z: x and y)."""
    u = np.zeros(3)
    u[np.argmin(np.abs(normal))] = 1
    u -= normal * (normal @ u)
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(normal, u)])


def mend_rings(rings: Sequence[Ring], extent: float, remarks: Remarks, place: str) -> tuple[Ring, ...]:
    """A plane's rings made simple: repeated vertices dropped, rings without area left out, rings that cross or touch
    themselves resolved, rings of one label that cross each other joined. Other crossings stay and are remarked.

    Raises:
        UserError: as `crossings`.
    """
    drawn = [replace(ring, vertices=drop_repeats(ring.vertices, extent)) for ring in rings]
    tidy = [ring for ring in drawn if len(ring.vertices)]
    for _ in range(len(drawn) - len(tidy)):
        remarks.add("Contours without area, left out", place)
    pairs = np.unique(crossings([ring.vertices for ring in tidy], extent, remarks, place), axis=0)
    tangled = np.array([touches_itself(ring.vertices, extent) for ring in tidy], bool)
    tangled[[i for i, j in pairs if i == j]] = True
    for _ in range(tangled.sum()):
        remarks.add("Contours that cross or touch themselves, taken by the even-odd rule", place)
    mended: list[Ring] = []
    for group in _groups_to_join(tidy, pairs, remarks, place):
        ring = tidy[group[0]]
        if len(group) == 1 and not tangled[group[0]]:
            mended.append(ring)
            continue
        for vertices, hole in join([tidy[member].vertices for member in group]):
            mended.append(Ring(vertices, ring.label, hole != ring.hole))
    return tuple(mended)


def _groups_to_join(
    rings: Sequence[Ring], pairs: Int[np.ndarray, "k 2"], remarks: Remarks, place: str
) -> list[list[int]]:
    """The rings, those together that cross each other, are of one label and both or neither holes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    alike = []
    for i, j in pairs[pairs[:, 0] != pairs[:, 1]]:
        if rings[i].label != rings[j].label:
            remarks.add("Pairs of contours of two labels that cross (the smaller contour holds the overlap)", place)
        elif rings[i].hole != rings[j].hole:
            remarks.add("Holes that cross a contour of their own label", place)
        else:
            remarks.add("Pairs of contours of one label that cross each other, joined", place)
            alike.append((i, j))
    links = np.array(alike, np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), links.T), shape=(len(rings), len(rings)))
    count, group = connected_components(graph, directed=False)
    return [np.flatnonzero(group == index).tolist() for index in range(count)]


def combine_outlines(
    outlines: Sequence[Float64[np.ndarray, "_ 2"]], label: int, extent: float, remarks: Remarks, place: str
) -> tuple[Ring, ...]:
    """The rings of one region that several outlines of a plane draw together, by the even-odd rule over all of them.

    Raises:
        UserError: as `crossings`.
    """
    tidy = [vertices for vertices in (drop_repeats(outline, extent) for outline in outlines) if len(vertices)]
    for _ in range(len(outlines) - len(tidy)):
        remarks.add("Contours without area, left out", place)
    crossed = crossings(tidy, extent, remarks, place)
    if len(crossed):
        remarks.add("Contours that cross themselves or each other, taken by the even-odd rule", place)
    if len(tidy) == 1 and not len(crossed) and not touches_itself(tidy[0], extent):
        return (Ring(tidy[0], label),)
    return tuple(Ring(vertices, label, hole) for vertices, hole in even_odd(tidy))


def drop_repeats(vertices: Float64[np.ndarray, "n 2"], extent: float) -> Float64[np.ndarray, "m 2"]:
    """The polygon without vertices that repeat their predecessor (the last one precedes the first), to 1e-9 of the
    extent; empty where fewer than three are left or all lie on a line."""
    if len(vertices):
        step = np.linalg.norm(vertices - np.roll(vertices, 1, axis=0), axis=1)
        vertices = vertices[step > 1e-9 * extent]
    if len(vertices) < 3:
        return np.empty((0, 2))
    length, breadth = np.linalg.svd(vertices - vertices.mean(0), compute_uv=False)
    return vertices if breadth > 1e-9 * length else np.empty((0, 2))


def signed_area(vertices: Float64[np.ndarray, "n 2"]) -> float:
    """The shoelace formula, taken about the first vertex; positive where the polygon runs counter-clockwise."""
    x, y = (vertices - vertices[0]).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def even_odd(outlines: Sequence[Float64[np.ndarray, "_ 2"]]) -> list[tuple[Float64[np.ndarray, "_ 2"], bool]]:
    """Simple polygons, and whether each is a hole, that bound the even-odd interior of all the outlines together.

    Vertices move by up to 1e-8 of the extent: the polygon clipper works on a lattice.
    """
    return _clip(outlines, apart=False)


def join(outlines: Sequence[Float64[np.ndarray, "_ 2"]]) -> list[tuple[Float64[np.ndarray, "_ 2"], bool]]:
    """As `even_odd`, for the union of the outlines' own even-odd interiors."""
    return _clip(outlines, apart=True)


def _clip(outlines: Sequence[Float64[np.ndarray, "_ 2"]], apart: bool) -> list[tuple[Float64[np.ndarray, "_ 2"], bool]]:
    from manifold3d import CrossSection, FillRule, OpType

    everything = np.concatenate(outlines)
    low = everything.min(0)
    scale = float(np.ptp(everything, axis=0).max())
    scaled = [(outline - low) / scale for outline in outlines]
    if apart:
        own = [CrossSection([outline], FillRule.EvenOdd) for outline in scaled]
        region = CrossSection.batch_boolean(own, OpType.Add)
    else:
        region = CrossSection(scaled, FillRule.EvenOdd)
    polygons = [np.asarray(polygon, np.float64) for polygon in region.to_polygons()]
    return [(low + scale * polygon, signed_area(polygon) < 0) for polygon in polygons if len(polygon) >= 3]


def touches_itself(vertices: Float64[np.ndarray, "n 2"], extent: float) -> bool:
    """Whether the polygon passes through a vertex twice (to 1e-9 of the extent), as a keyhole's seam does."""
    lattice = np.round(vertices / (1e-9 * extent))
    return len(np.unique(lattice, axis=0)) < len(vertices)


def crossings(
    outlines: Sequence[Float64[np.ndarray, "_ 2"]], extent: float, remarks: Remarks, place: str
) -> Int[np.ndarray, "k 2"]:
    """Pairs (i, j), i <= j, of outlines whose edges cross, one for each crossing; i = j: the outline crosses itself.

    Edges that only meet in a vertex or run along each other do not count, nor crossings less deep than 1e-7 of the
    extent: rings of neighbouring labels share their vertices up to rounding.

    Raises:
        UserError: there are more than `MAX_CROSSINGS`.
    """
    if not outlines:
        return np.empty((0, 2), np.int64)
    start = np.concatenate(outlines)
    end = np.concatenate([np.roll(outline, -1, axis=0) for outline in outlines])
    owner = np.repeat(np.arange(len(outlines)), [len(outline) for outline in outlines])
    if np.abs(end - start)[:, 0].sum() > np.abs(end - start)[:, 1].sum():
        start, end = start[:, ::-1], end[:, ::-1]  # the sweep runs along the axis that the edges cover less of
    order = np.argsort(np.minimum(start[:, 0], end[:, 0]))
    edges = np.ascontiguousarray(np.concatenate([start, end], axis=1)[order])
    pairs = _edge_crossings(edges, 1e-7 * extent, MAX_CROSSINGS + 1)
    if len(pairs) > MAX_CROSSINGS:
        raise remarks.wrong(
            place, f"its contours cross more than {MAX_CROSSINGS} times; outlines of regions should not"
        )
    return np.sort(owner[order][pairs], axis=1)


@njit(cache=True)
def _edge_crossings(
    edges: Float64[np.ndarray, "n 4"], depth: float, limit: int
) -> Int[np.ndarray, "k 2"]:  # pragma: no cover
    """The first `limit` pairs of edges (x0, y0, x1, y1), sorted by their least x, that cross deeper than `depth`."""
    found = np.empty((limit, 2), np.int64)
    count = 0
    for i in range(len(edges)):
        right = max(edges[i, 0], edges[i, 2])
        low, high = min(edges[i, 1], edges[i, 3]), max(edges[i, 1], edges[i, 3])
        for j in range(i + 1, len(edges)):
            if min(edges[j, 0], edges[j, 2]) > right:
                break
            if min(edges[j, 1], edges[j, 3]) > high or max(edges[j, 1], edges[j, 3]) < low:
                continue
            if _separates(edges[i], edges[j], depth) and _separates(edges[j], edges[i], depth):
                found[count, 0], found[count, 1] = i, j
                count += 1
                if count == limit:
                    return found
    return found[:count]


@njit(cache=True, inline="always")
def _separates(line: Float64[np.ndarray, "4"], edge: Float64[np.ndarray, "4"], depth: float) -> bool:
    """Whether the edge's ends lie on the two sides of the line through the other edge, each farther than `depth`."""
    dx, dy = line[2] - line[0], line[3] - line[1]
    first = dx * (edge[1] - line[1]) - dy * (edge[0] - line[0])
    last = dx * (edge[3] - line[1]) - dy * (edge[2] - line[0])
    reach = depth * np.sqrt(dx * dx + dy * dy)
    return (first > reach and last < -reach) or (first < -reach and last > reach)
