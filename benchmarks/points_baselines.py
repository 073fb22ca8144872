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
from points_inputs import spacing_of
from scipy.spatial import KDTree

from recon.methods.levelset_udf.published_extraction import published_surface
from render.raycasting import import_open3d

PROTOTYPE = Path(os.environ.get("RELIEF_PROTOTYPE", "."))


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
    """The distance to the nearest point, without a network, put through the extraction that LevelSetUDF publishes."""
    tree = KDTree(points)
    low, side = points.min(0), float(np.ptp(points, axis=0).max())

    def distance_and_gradient(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distances, nearest = tree.query(low + side * places)
        return distances / side, (low + side * places - points[nearest]) / np.maximum(distances, 1e-12)[:, None]

    mesh = published_surface(distance_and_gradient, (points - low) / side, resolution)
    mesh.vertices = low + side * mesh.vertices
    return mesh


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
