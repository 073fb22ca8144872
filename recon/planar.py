"""What planes with contours say about one label: where its outline runs, and which side of it is inside.

Whatever the input's rule (innermost ring wins, or even-odd per label), a label's part of a plane is bounded by the
rings at which membership changes, so that inside is the parity of crossings of those rings alone. That is the one
form, `Outline`, in which the reconstruction methods take cross-sections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit

from recon.inputs import CrossSections
from recon.scene import Frame
from recon.slices import BACKGROUND, Plane, Ring


@dataclass(frozen=True)
class Outline:
    """The boundary of one region in one plane: `segments` (m, 2, 2) in the coordinates of the plane's `axes`.

    No segment at all says that the region does not meet the plane.
    """

    origin: Float64[np.ndarray, "3"]
    axes: Float64[np.ndarray, "2 3"]
    segments: Float64[np.ndarray, "m 2 2"]

    @property
    def normal(self) -> Float64[np.ndarray, "3"]:
        """u x v, of unit length."""
        return np.cross(self.axes[0], self.axes[1])

    @property
    def segments_3d(self) -> Float64[np.ndarray, "m 2 3"]:
        """The same segments in space."""
        return self.origin + self.segments @ self.axes

    def in_frame(self, frame: Frame) -> Outline:
        """The same outline in the coordinates of a frame."""
        return Outline(frame.from_user(self.origin), self.axes @ frame.rotation, self.segments / frame.scale)


def outlines(sections: CrossSections, label: int) -> list[Outline]:
    """The outline of a label on every plane that speaks about it; of all labels together for `BACKGROUND`."""
    found = []
    for plane in sections.planes:
        if label in plane.silent_about:
            continue
        rings = _bounding_rings(plane, label, sections.partition)
        segments = [np.stack([ring.vertices, np.roll(ring.vertices, -1, axis=0)], axis=1) for ring in rings]
        found.append(Outline(plane.origin, plane.axes, np.concatenate([*segments, np.empty((0, 2, 2))])))
    return found


def inside_on_lattice(
    segments: Float64[np.ndarray, "m 2 2"], first: tuple[float, float], step: float, shape: tuple[int, int]
) -> Bool[np.ndarray, "nu nv"]:
    """Which nodes (first + step * (i, j)) of a lattice in the plane are inside, by the even-odd rule.

    Costs the lattice plus the lattice lines that the segments cross, not their product.
    """
    crossed = np.zeros(shape, np.bool_)
    _toggle_crossed_lines(np.ascontiguousarray(segments), first[0], first[1], step, crossed)
    return np.logical_xor.accumulate(crossed, axis=0)


def inside_at(points: Float64[np.ndarray, "n 2"], segments: Float64[np.ndarray, "m 2 2"]) -> Bool[np.ndarray, " n"]:
    """Which points are inside, by the even-odd rule; costs points times segments."""
    return _parity(np.ascontiguousarray(points), np.ascontiguousarray(segments))


def samples(
    outline: Outline, spacing: float
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Points at most `spacing` apart along an outline (midpoints of equal parts of each segment), the length that each
    stands for, and the segment that it lies on."""
    start, end = outline.segments_3d[:, 0], outline.segments_3d[:, 1]
    length = np.linalg.norm(end - start, axis=1)
    parts = np.maximum(1, np.ceil(length / spacing)).astype(np.int64)
    segment = np.repeat(np.arange(len(parts)), parts)
    within = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    share = ((within + 0.5) / parts[segment])[:, None]
    return (1 - share) * start[segment] + share * end[segment], (length / parts)[segment], segment


def distance_to_segments(
    points: Float64[np.ndarray, "n 3"], segments: Float64[np.ndarray, "n 2 3"]
) -> Float64[np.ndarray, " n"]:
    """The distance of each point to its own segment."""
    along = segments[:, 1] - segments[:, 0]
    square = np.maximum((along**2).sum(1), np.finfo(float).tiny)
    share = np.clip(((points - segments[:, 0]) * along).sum(1) / square, 0, 1)
    return np.linalg.norm(points - segments[:, 0] - share[:, None] * along, axis=1)


def _bounding_rings(plane: Plane, label: int, partition: bool) -> list[Ring]:
    """The rings at which membership of the label changes."""
    if not partition:
        return [ring for ring in plane.rings if label in (ring.label, BACKGROUND)]

    def member(ring: Ring | None) -> bool:
        value = BACKGROUND if ring is None or ring.hole else ring.label
        return value != BACKGROUND if label == BACKGROUND else value == label

    return [
        ring for ring, parent in zip(plane.rings, _parents(plane.rings), strict=True) if member(ring) != member(parent)
    ]


def _parents(rings: tuple[Ring, ...]) -> list[Ring | None]:
    """The innermost ring around each ring. A hole counts as larger than the ring that fills it to its edge, although
    the two were drawn with slightly different vertices."""
    edges = [np.stack([ring.vertices, np.roll(ring.vertices, -1, axis=0)], axis=1) for ring in rings]
    area = np.array([abs(_signed_area(ring.vertices)) * (1.02 if ring.hole else 1.0) for ring in rings])
    probe = np.array([_point_within(ring.vertices) for ring in rings]).reshape(-1, 2)
    low = np.array([ring.vertices.min(0) for ring in rings]).reshape(-1, 2)
    high = np.array([ring.vertices.max(0) for ring in rings]).reshape(-1, 2)
    parents: list[Ring | None] = []
    for i in range(len(rings)):
        larger = (area > area[i]) & (low <= probe[i]).all(1) & (high >= probe[i]).all(1)
        around = [j for j in np.flatnonzero(larger) if inside_at(probe[i : i + 1], edges[j])[0]]
        parents.append(rings[min(around, key=area.__getitem__)] if around else None)
    return parents


def _signed_area(vertices: Float64[np.ndarray, "n 2"]) -> float:
    x, y = vertices.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def _point_within(vertices: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "2"]:
    """A point inside the ring, beside the middle of its longest edge: a hundredth of its size deep if it is that wide
    there, so that a neighbour's slightly different copy of the same edge lies on the other side of the point."""
    along = np.roll(vertices, -1, axis=0) - vertices
    longest = int((along**2).sum(1).argmax())
    middle, direction = vertices[longest] + 0.5 * along[longest], along[longest] / np.linalg.norm(along[longest])
    area = _signed_area(vertices)
    inward = np.array([-direction[1], direction[0]]) * np.sign(area) * abs(area) ** 0.5
    deep = middle + 1e-2 * inward
    edges = np.stack([vertices, np.roll(vertices, -1, axis=0)], axis=1)
    return deep if inside_at(deep[None], edges)[0] else middle + 1e-5 * inward


@njit(cache=True)
def _parity(points, segments):
    """Even-odd rule: a ray towards +u crosses the segments an odd number of times."""
    inside = np.zeros(len(points), np.bool_)
    for n in range(len(points)):
        u, v = points[n]
        for m in range(len(segments)):
            (au, av), (bu, bv) = segments[m]
            if (av > v) != (bv > v) and u < (bu - au) * (v - av) / (bv - av) + au:
                inside[n] = not inside[n]
    return inside


@njit(cache=True)
def _toggle_crossed_lines(segments, first_u, first_v, step, crossed):
    """Toggles, on each lattice line v = const that a segment crosses, the first node at or beyond the crossing."""
    nu, nv = crossed.shape
    for m in range(len(segments)):
        (au, av), (bu, bv) = segments[m]
        low, high = min(av, bv), max(av, bv)
        j = max(0, int(np.ceil((low - first_v) / step)))
        while j < nv and first_v + j * step < high:
            v = first_v + j * step
            if v >= low:
                u = (bu - au) * (v - av) / (bv - av) + au
                i = max(0, int(np.ceil((u - first_u) / step)))
                if i < nu:
                    crossed[i, j] = not crossed[i, j]
            j += 1
