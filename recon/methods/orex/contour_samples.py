"""Where the field is taught, and what: points around the contours, on the planes and outside everything.

A level samples with a count n and a radius r (section "Multi-scale sampling" of the paper); later levels look closer.
Per plane, in its own two dimensions:

    on each edge      n points at fractions 0, 1/n, ... (n - 1)/n              half of either side's label
    beside each edge  the same points moved by r along both edge normals       the label that is there
    at each vertex    n points on the circle of radius r                       the label that is there
    anywhere          2048 uniform points in the square [-1, 1]^2              the label that is there

and once per level 2^14 points on a surface around everything: outside. As published that surface is the contours'
convex hull enlarged by 1.05, which cuts a part off flat right behind the last plane that shows it; here it is the
convex hull moved outwards by one spacing of the planes, as far as a part may go on unseen.

Coordinates are normalised (see `normalised`). What is there is given in halves per label: 2 inside, 0 outside, 1 on
the contour; so K labels take K bytes a point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from scipy.spatial import ConvexHull

from recon.errors import UserError
from recon.inputs import CrossSections
from recon.methods.least_bending.fields import plane_spacing
from recon.planar import inside_at, outlines
from recon.scene import Frame
from recon.slices import BACKGROUND, Plane

UNIFORM_POINTS = 2048
OUTER_POINTS = 2**14
MARGIN = 1.1  # the contours' longest side fills 1 / MARGIN of [-1, 1]
DIRECTIONS = 32  # in which the hull's corners are moved outwards
SIDE = 1e-4  # how far beside an edge one looks for what lies on its two sides
SILENT = 255  # in place of halves: the plane says nothing about the label


@dataclass(frozen=True)
class Level:
    """How closely a level samples, and for how many epochs it is trained on."""

    count: int
    radius: float
    epochs: int


LEVELS = (
    Level(2, 2**-4, 50),
    Level(2, 2**-5, 50),
    Level(3, 2**-5, 100),
    Level(3, 2**-6, 100),
    Level(4, 2**-6, 150),
    Level(5, 2**-7, 200),
)


@dataclass(frozen=True)
class Samples:
    """Points and what is there: `halves[i, k]` is 2 inside the k-th label, 0 outside it, 1 on its contour, or
    `SILENT`."""

    points: Float32[np.ndarray, "n 3"]
    halves: UInt8[np.ndarray, "n labels"]

    @staticmethod
    def joined(parts: list[Samples]) -> Samples:
        return Samples(np.concatenate([p.points for p in parts]), np.concatenate([p.halves for p in parts]))


def normalised(sections: CrossSections) -> tuple[CrossSections, Frame]:
    """The sections with the contours' longest side filling 1 / 1.1 of [-1, 1]^3, and the frame back to the user's.

    Raises:
        UserError: there is no closed contour, or all lie in one plane.
    """
    if not any(plane.rings for plane in sections.planes):
        raise UserError("the input has no closed contour; orex needs outlines on at least two planes")
    vertices = sections.extent
    spread = np.linalg.svd(vertices - vertices.mean(0), compute_uv=False)
    if spread[2] <= 1e-9 * spread[0]:
        raise UserError("all contours lie in one plane; a solid needs outlines on at least two planes")
    frame = Frame.fitting(vertices, sections.unit, sections.up)
    frame = replace(frame, scale=MARGIN * frame.scale)
    planes = tuple(_in_frame(plane, frame) for plane in sections.planes)
    return replace(sections, contours=planes, volume=None), frame


def _in_frame(plane: Plane, frame: Frame) -> Plane:
    rings = tuple(replace(ring, vertices=ring.vertices / frame.scale) for ring in plane.rings)
    return replace(plane, origin=frame.from_user(plane.origin), axes=plane.axes @ frame.rotation, rings=rings)


class ContourSampler:
    """Draws the points of normalised sections, level by level.

    `bounds[i][k]` are the segments (m, 2, 2) of plane i at which label k begins and ends, None where the plane is
    silent about it; `hull` is the surface around everything.
    """

    def __init__(self, sections: CrossSections) -> None:
        self.sections = sections
        self.bounds: list[list[Float64[np.ndarray, "_ 2 2"] | None]] = [[] for _ in sections.planes]
        for label in sections.labels:
            spoken = iter(outlines(sections, label.id))
            for plane, of_plane in zip(sections.planes, self.bounds, strict=True):
                of_plane.append(None if label.id in plane.silent_about else next(spoken).segments)
        self.hull = outer_hull(sections)

    def draw(self, level: Level, rng: np.random.Generator) -> Samples:
        """The points of one level."""
        middle = self.sections.extent.mean(0)
        planes = zip(self.sections.planes, self.bounds, strict=True)
        parts = [_sample_plane(plane, of_plane, level, middle, rng) for plane, of_plane in planes]
        outside = sample_surface(self.hull, OUTER_POINTS, rng).astype(np.float32)
        parts.append(Samples(outside, np.zeros((len(outside), len(self.sections.labels)), np.uint8)))
        return Samples.joined(parts)


def count_samples(sections: CrossSections, level: Level) -> int:
    """How many points a level has, without drawing them."""
    edges = sum(len(ring.vertices) for plane in sections.planes for ring in plane.rings)
    return UNIFORM_POINTS * len(sections.planes) + OUTER_POINTS + 4 * level.count * edges


def outer_hull(sections: CrossSections) -> ConvexHull:
    """The contours' convex hull moved outwards by the spacing of the planes; what is beyond it is outside."""
    spacing = plane_spacing(outlines(sections, BACKGROUND))
    vertices = sections.extent
    corners = vertices[ConvexHull(vertices).vertices]
    # the hull of a ball about each corner, the ball being points on a Fibonacci spiral
    turn = np.arange(DIRECTIONS) + 0.5
    height, angle = 1 - 2 * turn / DIRECTIONS, np.pi * (1 + np.sqrt(5)) * turn
    width = np.sqrt(1 - height**2)
    ball = spacing * np.stack([width * np.cos(angle), width * np.sin(angle), height], 1)
    return ConvexHull((corners[:, None] + ball).reshape(-1, 3))


def _sample_plane(
    plane: Plane,
    bounds: list[Float64[np.ndarray, "_ 2 2"] | None],
    level: Level,
    middle: Float64[np.ndarray, "3"],
    rng: np.random.Generator,
) -> Samples:
    starts, edges, normals = contour_edges(plane)
    fractions = np.arange(level.count) / level.count
    on = (starts[:, None] + fractions[:, None] * edges[:, None]).reshape(-1, 2)
    shift = level.radius * np.repeat(normals, level.count, 0)
    angles = 2 * np.pi * fractions - np.pi
    circle = level.radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    around = (starts[:, None] + circle).reshape(-1, 2)
    # An empty plane has no vertices to centre the square on: it is centred below the middle of all contours.
    center = np.concatenate([r.vertices for r in plane.rings]).mean(0) if plane.rings else plane.to_plane(middle)
    uniform = center + rng.uniform(-1, 1, (UNIFORM_POINTS, 2))
    off = np.concatenate([on + shift, on - shift, around, uniform])
    halves = np.full((len(on) + len(off), len(bounds)), SILENT, np.uint8)
    beside = normals * np.minimum(SIDE, 0.1 * np.linalg.norm(edges, axis=1, keepdims=True))
    for label, segments in enumerate(bounds):
        if segments is not None:
            # Rings do not cross: what lies on the two sides of an edge's middle lies beside all of it.
            sides = [_inside(starts + 0.5 * edges + side, segments) for side in (-beside, beside)]
            halves[: len(on), label] = np.repeat(sides[0] + sides[1], level.count)
            halves[len(on) :, label] = 2 * _inside(off, segments)
    return Samples(plane.to_world(np.concatenate([on, off])).astype(np.float32), halves)


def _inside(points: Float64[np.ndarray, "n 2"], segments: Float64[np.ndarray, "m 2 2"]) -> UInt8[np.ndarray, " n"]:
    """1 inside, 0 outside; only points in the segments' box are looked at closely."""
    inside = np.zeros(len(points), np.uint8)
    if len(segments):
        near = ((points >= segments.min((0, 1))) & (points <= segments.max((0, 1)))).all(1)
        inside[near] = inside_at(points[near], segments)
    return inside


def contour_edges(
    plane: Plane,
) -> tuple[Float64[np.ndarray, "e 2"], Float64[np.ndarray, "e 2"], Float64[np.ndarray, "e 2"]]:
    """The edges of a plane's rings: where each starts, where it goes, and its unit normal."""
    nothing = np.zeros((0, 2))
    starts = np.concatenate([nothing, *(ring.vertices for ring in plane.rings)])
    ends = np.concatenate([nothing, *(np.roll(ring.vertices, -1, 0) for ring in plane.rings)])
    edges = ends - starts
    lengths = np.linalg.norm(edges, axis=1, keepdims=True)
    return starts, edges, np.stack([edges[:, 1], -edges[:, 0]], 1) / np.maximum(lengths, np.finfo(float).tiny)


def sample_surface(hull: ConvexHull, count: int, rng: np.random.Generator) -> Float64[np.ndarray, "count 3"]:
    """Points uniform by area on a hull."""
    triangles = hull.points[hull.simplices]
    sides = triangles[:, 1:] - triangles[:, :1]
    areas = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    chosen = rng.choice(len(areas), count, p=areas / areas.sum())
    weights = rng.dirichlet((1, 1, 1), count)  # uniform barycentric coordinates
    return (weights[:, :, None] * triangles[chosen]).sum(1)
