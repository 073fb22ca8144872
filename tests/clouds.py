"""Surfaces of known shape and clouds drawn from them: what the tests of the methods for points reconstruct.

Each gives area-uniform samples, the exact distance from any point, and what is true of its topology and its boundary.
They stand along the axes and at the origin on purpose: a flat or a closed surface that a lattice can meet head-on is
the harder case. `turned` moves one anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import trimesh
from jaxtyping import Float64

from recon.surface.closest import TriangleIndex

Points = Float64[np.ndarray, "n 3"]


@dataclass(frozen=True)
class Shape:
    """A surface of area `area`. `draw(rng, n)` gives points uniform over it, `distance(points)` how far points are from
    it. `loops` are its closed boundary curves, of `boundary_length` together (None where the boundary branches).
    `orientable` says whether it has two sides; `manifold` whether no more than two sheets meet anywhere."""

    name: str
    area: float
    draw: Callable[[np.random.Generator, int], Points]
    distance: Callable[[Points], Float64[np.ndarray, " n"]]
    euler_number: int
    components: int = 1
    loops: int | None = 0
    boundary_length: float = 0.0
    orientable: bool = True
    manifold: bool = True

    def cloud(self, count: int, seed: int = 0, noise: float = 0.0) -> Points:
        """Points drawn from a seed; `noise` is the standard deviation of what each coordinate is moved by."""
        rng = np.random.default_rng(seed)
        points = self.draw(rng, count)
        return points + noise * rng.standard_normal(points.shape)

    def spacing(self, count: int) -> float:
        """The side of the square that each of `count` points has for itself."""
        return float(np.sqrt(self.area / count))


def turned(shape: Shape, seed: int = 1, scale: float = 1.0, offset: tuple[float, float, float] = (0, 0, 0)) -> Shape:
    """The shape rotated at random, scaled and shifted."""
    rotation = trimesh.transformations.random_rotation_matrix(np.random.default_rng(seed).random(3))[:3, :3]
    return replace(
        shape,
        name=f"{shape.name}, turned",
        area=scale**2 * shape.area,
        draw=lambda rng, n: scale * shape.draw(rng, n) @ rotation.T + offset,
        distance=lambda points: scale * shape.distance((points - np.array(offset)) @ rotation / scale),
        boundary_length=scale * shape.boundary_length,
    )


def uneven(shape: Shape, ratio: float = 20.0) -> Shape:
    """The shape with a density of points that grows exponentially along x, by `ratio` from one end to the other."""
    ends = shape.draw(np.random.default_rng(0), 10_000)[:, 0]
    low, size = ends.min(), np.ptp(ends)

    def draw(rng: np.random.Generator, count: int) -> Points:
        points = np.empty((0, 3))
        while len(points) < count:
            more = shape.draw(rng, 4 * count)
            points = np.concatenate([points, more[rng.random(4 * count) < ratio ** ((more[:, 0] - low) / size - 1)]])
        return points[:count]

    return replace(shape, name=f"{shape.name}, density {ratio:g}:1", draw=draw)


def disc() -> Shape:
    """Radius 1, in the plane z = 0."""

    def draw(rng: np.random.Generator, n: int) -> Points:
        radius, angle = np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(n)], 1)

    def distance(p: Points) -> np.ndarray:
        return np.hypot(np.maximum(_from_axis(p) - 1, 0), p[:, 2])

    return Shape("disc", np.pi, draw, distance, euler_number=1, loops=1, boundary_length=2 * np.pi)


def hemisphere() -> Shape:
    """Radius 1, the half with z >= 0."""

    def draw(rng: np.random.Generator, n: int) -> Points:
        points = _directions(rng, n)
        points[:, 2] = np.abs(points[:, 2])
        return points

    def distance(p: Points) -> np.ndarray:
        to_rim = np.hypot(_from_axis(p) - 1, p[:, 2])
        return np.where(p[:, 2] >= 0, np.abs(np.linalg.norm(p, axis=1) - 1), to_rim)

    return Shape("hemisphere", 2 * np.pi, draw, distance, euler_number=1, loops=1, boundary_length=2 * np.pi)


def cylinder() -> Shape:
    """Radius 0.5, |z| <= 0.6, without caps."""
    radius, half = 0.5, 0.6

    def draw(rng: np.random.Generator, n: int) -> Points:
        angle = rng.uniform(0, 2 * np.pi, n)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-half, half, n)], 1)

    def distance(p: Points) -> np.ndarray:
        return np.hypot(_from_axis(p) - radius, np.maximum(np.abs(p[:, 2]) - half, 0))

    length = 2 * np.pi * radius
    return Shape("cylinder", 2 * half * length, draw, distance, euler_number=0, loops=2, boundary_length=2 * length)


def parallel_sheets(gap: float) -> Shape:
    """Two squares of side 2, in the planes z = 0 and z = gap."""
    heights = np.array([0.0, gap])

    def draw(rng: np.random.Generator, n: int) -> Points:
        return np.c_[rng.uniform(-1, 1, (n, 2)), rng.choice(heights, n)]

    def distance(p: Points) -> np.ndarray:
        beside = np.linalg.norm(np.maximum(np.abs(p[:, :2]) - 1, 0), axis=1)
        return np.hypot(beside, np.abs(p[:, 2:] - heights).min(1))

    return Shape(
        f"sheets {gap:g} apart", 8.0, draw, distance, euler_number=2, components=2, loops=2, boundary_length=16.0
    )


def nested_hemispheres(gap: float) -> Shape:
    """Around one centre, of radius 1 and 1 - gap."""
    inner, one = 1 - gap, hemisphere()

    def draw(rng: np.random.Generator, n: int) -> Points:
        radius = np.where(rng.random(n) < 1 / (1 + inner**2), 1.0, inner)
        return one.draw(rng, n) * radius[:, None]

    def distance(p: Points) -> np.ndarray:
        return np.minimum(one.distance(p), inner * one.distance(p / inner))

    area, length = 2 * np.pi * (1 + inner**2), 2 * np.pi * (1 + inner)
    name = f"hemispheres {gap:g} apart"
    return Shape(name, area, draw, distance, euler_number=2, components=2, loops=2, boundary_length=length)


def moebius_band() -> Shape:
    """A segment of length 0.6 that makes half a turn while its middle goes around the unit circle.

    The point v along the segment at the angle u moves by sqrt((1 + v cos(u / 2))^2 + v^2 / 4) a radian, at right
    angles to the segment.
    """
    half = 0.3

    def at(u: np.ndarray, v: np.ndarray) -> Points:
        radius = 1 + v * np.cos(u / 2)
        return np.stack([radius * np.cos(u), radius * np.sin(u), v * np.sin(u / 2)], -1)

    def speed(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.hypot(1 + v * np.cos(u / 2), v / 2)

    def draw(rng: np.random.Generator, n: int) -> Points:
        u, v = rng.uniform(0, 2 * np.pi, 3 * n), rng.uniform(-half, half, 3 * n)
        kept = np.flatnonzero(rng.random(3 * n) < speed(u, v) / (1.05 * (1 + half)))[:n]
        return at(u[kept], v[kept])

    u, v = np.linspace(0, 2 * np.pi, 2001), np.linspace(-half, half, 33)
    grid = at(*np.meshgrid(u, v, indexing="ij"))
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    triangles = np.concatenate([np.stack(corners, -2).reshape(-1, 3, 3) for corners in ((a, b, c), (a, c, d))])
    middle = (u[1:] + u[:-1]) / 2
    length = 2 * np.pi * sum(speed(middle, np.full(len(middle), end)).mean() for end in (-half, half))
    across = np.linspace(-half, half, 401)
    area = 2 * np.pi * 2 * half * speed(*np.meshgrid(middle, (across[1:] + across[:-1]) / 2)).mean()
    return Shape(
        name="Moebius band",
        area=float(area),
        draw=draw,
        distance=lambda p: TriangleIndex(triangles).closest(p).distances,  # the facets are within 1e-5 of the band
        euler_number=0,
        loops=1,
        boundary_length=float(length),
        orientable=False,
    )


def junction() -> Shape:
    """Three unit squares that share a side, as the strokes of a T extruded: the planes x >= 0, x <= 0 and z <= 0."""
    directions = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 0, -1.0]])

    def draw(rng: np.random.Generator, n: int) -> Points:
        return rng.random((n, 1)) * directions[rng.integers(3, size=n)] + np.c_[np.zeros(n), rng.random(n), np.zeros(n)]

    def distance(p: Points) -> np.ndarray:
        along = (p @ directions.T).clip(0, 1)[..., None] * directions
        foot = along + (p[:, 1].clip(0, 1)[:, None] * [0, 1, 0])[:, None]
        return np.linalg.norm(p[:, None] - foot, axis=2).min(1)

    return Shape(
        "junction",
        3.0,
        draw,
        distance,
        euler_number=1,
        loops=None,
        boundary_length=9.0,
        orientable=False,
        manifold=False,
    )


def sphere() -> Shape:
    """Radius 1."""
    return Shape("sphere", 4 * np.pi, _directions, lambda p: np.abs(np.linalg.norm(p, axis=1) - 1), euler_number=2)


def torus() -> Shape:
    """A tube of radius 0.35 around the unit circle."""
    tube = 0.35

    def draw(rng: np.random.Generator, n: int) -> Points:
        u, v = rng.uniform(0, 2 * np.pi, (2, 3 * n))
        kept = np.flatnonzero(rng.random(3 * n) < (1 + tube * np.cos(v)) / (1 + tube))[:n]
        radius = 1 + tube * np.cos(v[kept])
        return np.stack([radius * np.cos(u[kept]), radius * np.sin(u[kept]), tube * np.sin(v[kept])], 1)

    def distance(p: Points) -> np.ndarray:
        return np.abs(np.hypot(_from_axis(p) - 1, p[:, 2]) - tube)

    return Shape("torus", 4 * np.pi**2 * tube, draw, distance, euler_number=0)


def cube() -> Shape:
    """Side 2, sharp edges."""

    def draw(rng: np.random.Generator, n: int) -> Points:
        points = rng.uniform(-1, 1, (n, 3))
        points[np.arange(n), rng.integers(3, size=n)] = rng.choice([-1.0, 1.0], n)
        return points

    def distance(p: Points) -> np.ndarray:
        beyond = np.abs(p) - 1
        return np.where((beyond > 0).any(1), np.linalg.norm(np.maximum(beyond, 0), axis=1), -beyond.max(1))

    return Shape("cube", 24.0, draw, distance, euler_number=2)


def _from_axis(p: Points) -> Float64[np.ndarray, " n"]:
    return np.hypot(p[:, 0], p[:, 1])


def _directions(rng: np.random.Generator, n: int) -> Points:
    directions = rng.standard_normal((n, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)
