"""Casting rays at triangles, with Embree: through `embreex` where it has a wheel, through Open3D elsewhere."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32


class Hits(NamedTuple):
    """Where rays meet a mesh first: `face` (-1 where none), the ray parameter `t` (infinite where none), and the
    point as (1 - u - v) a + u b + v c of the face's corners a, b, c."""

    face: Int32[np.ndarray, "n"]
    t: Float32[np.ndarray, "n"]
    u: Float32[np.ndarray, "n"]
    v: Float32[np.ndarray, "n"]


class Raycaster:
    """The triangles of a mesh, ready to be met by rays. Embree computes in float32: give coordinates near 0."""

    def __init__(self, vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]):
        vertices = np.ascontiguousarray(vertices, np.float32)
        faces = np.ascontiguousarray(faces, np.int32)
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError:
            self._scene: Any = None
            self._open3d_scene = _open3d_scene(vertices, faces)
        else:
            self._scene = EmbreeScene()
            self._mesh = TriangleMesh(self._scene, vertices, faces)

    def first_hits(self, origins: Float32[np.ndarray, "n 3"], directions: Float32[np.ndarray, "n 3"]) -> Hits:
        """What each ray origin + t direction, t > 0, meets first."""
        if self._scene is None:
            return self._open3d_hits(origins, directions)
        found = self._scene.run(
            np.ascontiguousarray(origins), np.ascontiguousarray(directions), query="INTERSECT", output=True
        )
        face = found["primID"]
        return Hits(face, np.where(face >= 0, found["tfar"], np.float32(np.inf)), found["u"], found["v"])

    def occluded(
        self, origins: Float32[np.ndarray, "n 3"], directions: Float32[np.ndarray, "n 3"]
    ) -> Bool[np.ndarray, "n"]:
        """Whether each ray meets anything."""
        if self._scene is None:
            return self._open3d_hits(origins, directions).face >= 0
        found = self._scene.run(np.ascontiguousarray(origins), np.ascontiguousarray(directions), query="OCCLUDED")
        return found >= 0

    def _open3d_hits(self, origins: Float32[np.ndarray, "n 3"], directions: Float32[np.ndarray, "n 3"]) -> Hits:
        found = self._open3d_scene.cast_rays(np.concatenate([origins, directions], axis=1))
        face = found["primitive_ids"].numpy().astype(np.int64)
        missed = face == self._open3d_scene.INVALID_ID
        barycentric = found["primitive_uvs"].numpy()
        face = np.where(missed, -1, face).astype(np.int32)
        return Hits(face, found["t_hit"].numpy(), barycentric[:, 0], barycentric[:, 1])


def _open3d_scene(vertices: Float32[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"]) -> Any:
    o3d: Any = import_open3d()
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(vertices), o3d.core.Tensor(faces.astype(np.uint32)))
    return scene


def import_open3d() -> ModuleType:
    """The module `open3d`; on Linux after loading the libusb that it is linked to, which a bare machine lacks.

    Open3D brings a TBB that numba finds too old to run threads with, and says so: numba is to take OpenMP before it.
    """
    import ctypes
    import os
    import sys

    os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", "omp tbb workqueue")
    if sys.platform == "linux":
        import libusb_package

        library = libusb_package.get_library_path()
        if library is not None:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    import open3d

    return open3d
