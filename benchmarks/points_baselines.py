"""Other ways from points to a surface, which benchmarks/points.py sets beside Relief's methods.

Each is `(points, noise) -> mesh`, `noise` being the standard deviation in the points' unit, which Relief's methods are
not told.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh
from points_inputs import DATA, spacing_of
from scipy.spatial import KDTree

from recon.surface.marching import isosurface
from render.raycasting import import_open3d

PROTOTYPE = Path(os.environ.get("RELIEF_PROTOTYPE", DATA.parent / "prototypes" / "points"))


def alpha_shape(points: np.ndarray, noise: float) -> trimesh.Trimesh:
    """The alpha shape (Edelsbrunner & Muecke 1994, Open3D) with alpha of three spacings; Open3D keeps the faces of
    solid tetrahedra only, so that a sheet has gaps."""
    open3d = import_open3d()
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    mesh = open3d.geometry.TriangleMesh.create_from_point_cloud_alpha_shape(cloud, 3 * spacing_of(points))
    return trimesh.Trimesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles), process=False)


def screened_poisson(points: np.ndarray, noise: float) -> trimesh.Trimesh:
    """Screened Poisson (Kazhdan & Hoppe 2013, Open3D, depth 8), not trimmed, of PCA normals (16 neighbours, 100 with
    noise, 10 of fewer than 2000 points) that are oriented along a minimum spanning tree."""
    open3d = import_open3d()
    neighbours = 100 if noise else (16 if len(points) >= 2_000 else 10)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamKNN(neighbours))
    cloud.orient_normals_consistent_tangent_plane(min(neighbours, 30))
    mesh, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=8, n_threads=1)
    return trimesh.Trimesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles), process=False)


def nearest_point(points: np.ndarray, noise: float, resolution: int = 128) -> trimesh.Trimesh:
    """The distance to the nearest point, extracted as the networks' authors do (CAP-UDF, LevelSetUDF): in each cell the
    signs of the corners are those of their gradients against the first corner's, then marching cubes at 0."""
    low, high = points.min(0), points.max(0)
    step = float((high - low).max()) / (resolution - 10)
    nodes = np.ceil((high - low) / step).astype(int) + 11
    origin = (low + high) / 2 - step * (nodes - 1) / 2
    corner = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    near = 0.005 * (high - low).max()
    cells = _cells_near(points, origin, step, nodes, near)[:, None] + corner  # (n, 8, 3)
    at = np.unique(cells.reshape(-1, 3), axis=0)
    distances, nearest = KDTree(points).query(origin + step * at)
    gradients = (origin + step * at - points[nearest]) / np.maximum(distances, 1e-12)[:, None]
    number = np.full(nodes, -1)
    number[tuple(at.T)] = np.arange(len(at))
    of_cell = number[tuple(cells.transpose(2, 0, 1))]  # (n, 8)
    kept = distances[of_cell].min(1) <= near
    of_cell, cells = of_cell[kept], cells[kept, 0]
    sign = np.sign(np.einsum("nj,nkj->nk", gradients[of_cell[:, 0]], gradients[of_cell]))
    # The cells stand in a row, each two nodes long, so that every second cell of the row is one of them.
    row = (sign * distances[of_cell]).reshape(-1, 2, 2)
    mesh = isosurface(np.ascontiguousarray(row))
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    first, last = vertices[faces, 0].min(1), vertices[faces, 0].max(1)
    cell = (first // 2).astype(int)
    faces = faces[last <= 2 * cell + 1]
    cell_of_vertex = (vertices[:, 0] // 2).astype(int).clip(max=len(cells) - 1)
    vertices[:, 0] -= 2 * cell_of_vertex
    mesh = trimesh.Trimesh(origin + step * (vertices + cells[cell_of_vertex]), faces, process=False)
    mesh.merge_vertices(digits_vertex=7)
    mesh.update_faces(mesh.nondegenerate_faces())
    mesh.remove_unreferenced_vertices()
    return mesh


def _cells_near(points: np.ndarray, origin: np.ndarray, step: float, nodes: np.ndarray, near: float) -> np.ndarray:
    """The cells (n, 3) that can have a corner within `near` of a point."""
    reach = int(np.ceil(near / step)) + 1
    marked = np.zeros(nodes - 1, bool)
    cell = ((points - origin) / step).astype(int)
    offsets = np.arange(-reach, reach + 1)
    for shift in np.stack(np.meshgrid(offsets, offsets, offsets), -1).reshape(-1, 3):
        marked[tuple((cell + shift).clip(0, nodes - 2).T)] = True
    return np.argwhere(marked)


def prototype(points: np.ndarray, noise: float) -> trimesh.Trimesh:
    """The prototype that the asked figures come from, told whether there is noise."""
    sys.path.insert(0, str(PROTOTYPE))
    from ext import recon  # type: ignore[import-not-found]

    options = {"denoise": 2, "kd": 70} if noise else {"denoise": 0}
    vertices, faces, _ = recon(points, hs=1.25, nproj=1, **options)
    return trimesh.Trimesh(vertices, faces, process=False)


BASELINES: dict[str, Callable[[np.ndarray, float], trimesh.Trimesh]] = {
    "alpha-shape": alpha_shape,
    "screened-poisson": screened_poisson,
    "nearest-point": nearest_point,
    "prototype": prototype,
}


def missing(name: str) -> str | None:
    """Why a baseline cannot run here; None where it can."""
    if name == "prototype" and not (PROTOTYPE / "ext.py").is_file():
        return f"{PROTOTYPE} is missing (RELIEF_PROTOTYPE names it)"
    return None
