"""Solids of known shape, and their cuts by planes: what the tests of the methods reconstruct."""

from __future__ import annotations

import numpy as np
import trimesh

from recon.inputs import CrossSections
from recon.slices import Label, Plane, Ring


def plane_axes(normal: np.ndarray) -> np.ndarray:
    """Two orthonormal directions in a plane, u x v = normal."""
    least = np.eye(3)[np.argmin(np.abs(normal))]
    u = np.cross(normal, least)
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(normal, u)])


def cut(solids: dict[str, trimesh.Trimesh], origins: np.ndarray, normals: np.ndarray, partition: bool) -> CrossSections:
    """The cross-sections of closed meshes, one label each; a cavity's or a hole's ring is marked as a hole."""
    labels = tuple(Label(n, name, (0.8, 0.2 * n, 0.3)) for n, name in enumerate(solids, 1))
    planes = []
    for origin, normal in zip(origins, normals, strict=True):
        axes = plane_axes(normal)
        rings: list[Ring] = []
        for label in labels:
            section = solids[label.name].section(plane_origin=origin, plane_normal=normal)
            if section is not None:
                rings += _rings(section, origin, axes, label.id)
        planes.append(Plane(np.asarray(origin, float), axes, tuple(rings)))
    return CrossSections(labels=labels, contours=tuple(planes), partition=partition)


def _rings(section: trimesh.path.Path3D, origin: np.ndarray, axes: np.ndarray, label: int) -> list[Ring]:
    from shapely.geometry import Polygon

    loops = [(loop[:-1] - origin) @ axes.T for loop in section.discrete]
    shapes = [Polygon(loop) for loop in loops]
    depth = [sum(other.contains(shape) for other in shapes if other is not shape) for shape in shapes]
    return [Ring(loop, label, hole=level % 2 == 1) for loop, level in zip(loops, depth, strict=True)]


def parallel(low: float, high: float, count: int, axis: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Planes evenly spaced inside (low, high) along an axis."""
    normal = np.eye(3)[axis]
    return np.linspace(low, high, count + 2)[1:-1, None] * normal, np.tile(normal, (count, 1))


def oblique(count: int, reach: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Planes of random direction at random distances up to `reach` from the origin."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals * rng.uniform(-reach, reach, (count, 1)), normals


def double_torus() -> trimesh.Trimesh:
    """A body of genus 2: Euler number -2."""
    rings = [trimesh.creation.torus(0.5, 0.18, major_sections=64, minor_sections=32) for _ in range(2)]
    rings[0].apply_translation([-0.5, 0, 0])
    rings[1].apply_translation([0.5, 0, 0])
    return trimesh.boolean.union(rings, engine="manifold")


def shell() -> trimesh.Trimesh:
    """A ball of radius 1 with a cavity of radius 0.5: Euler number 4."""
    outer = trimesh.creation.icosphere(subdivisions=4, radius=1.0)
    return trimesh.boolean.difference(
        [outer, trimesh.creation.icosphere(subdivisions=4, radius=0.5)], engine="manifold"
    )
