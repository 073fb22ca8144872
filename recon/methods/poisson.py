"""Screened Poisson reconstruction, Open3D's: a closed surface from oriented points, trimmed where there are none.

Kazhdan, Hoppe, "Screened Poisson surface reconstruction", 2013. The indicator function whose gradient fits the points'
normals is solved for on an octree; its surface has no boundary but that of the box. Where the thing is open, what lies
farther than 2.2 spacings from the points was made up, and is cut off. A baseline: it needs normals that agree about
the outside, rounds off boundaries, and fills holes as wide as a few spacings.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from jaxtyping import Bool, Float64
from scipy.spatial import KDTree

from recon.errors import UserError
from recon.inputs import PointCloud
from recon.limits import Cost
from recon.methods.tangent_planes import distinct, oriented_normals, spacing
from recon.scene import Frame, Scene
from recon.surface.cleaning import split_non_manifold, without_holes
from recon.surface.colors import carried
from recon.surface.topology import Topology

if TYPE_CHECKING:
    import trimesh

    from recon.training import Trainer

SIDE = 2 * 1.1  # of the octree, in the frame
SHALLOWEST, DEEPEST = 5, 12
DRAFT_DEPTH = 7
TRIM = 2.2  # spacings
MADE_UP = 0.01  # share of the area beyond TRIM that makes a thing open
SECONDS, SECONDS_A_NORMAL = 0.5, 20e-6
SECONDS_A_POINT, SECONDS_A_CELL = 100e-6, 60e-6  # the fewer: of points, or of the 4^depth cells on the surface
MEGABYTES, MEGABYTES_A_POINT = 350, 3e-3


class PoissonConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Screened Poisson reconstruction."""

    depth: Annotated[int, msgspec.Meta(ge=3, le=13)] | None = None
    """Depth of the octree: its cells are 1.1 times the longest side over 2^depth. By default as small as the points'
    spacing."""
    closed: bool = False
    """The thing is closed: keep the whole surface, capped where it runs into the octree's box."""
    open: bool = False
    """Cut off what is far from the points: the thing is open."""

    @classmethod
    def at(cls, quality: Literal["draft", "standard", "high"]) -> PoissonConfig:
        """The config of a quality."""
        return cls(depth=DRAFT_DEPTH) if quality == "draft" else cls()


def poisson(cloud: PointCloud, config: PoissonConfig, train: Trainer) -> Scene:
    """One mesh: closed, or trimmed to the points; which of the two, and why, stands in the notes.

    Raises:
        UserError: the cloud has too few distinct points, or `closed` and `open` are both asked for.
    """
    if config.closed and config.open:
        raise UserError("--closed and --open: choose one; with neither, the method decides")
    cloud = distinct(cloud)
    frame = Frame.fitting(cloud.points, cloud.unit, cloud.up)
    cloud = replace(cloud, points=frame.from_user(cloud.points))
    stage = PoissonStage(cloud.points, cloud.normals, config, frame)
    mesh = train(stage)
    if not len(mesh.faces):
        raise UserError("--method poisson: the points' normals do not bound any space; --method auto does without them")
    return Scene(mesh=carried(mesh, cloud), frame=frame, notes=(stage.note,))


def estimate(cloud: PointCloud, config: PoissonConfig, device: str) -> Cost:
    """CPU seconds and memory, as measured on clouds of 5,000 to 200,000 points."""
    count = len(cloud.points)
    seconds = SECONDS + (0 if cloud.normals is not None else count * SECONDS_A_NORMAL)
    seconds += min(count * SECONDS_A_POINT, math.inf if config.depth is None else 4**config.depth * SECONDS_A_CELL)
    return Cost(seconds, MEGABYTES + count * MEGABYTES_A_POINT, "thinning the points needs less")


class PoissonStage:
    """Two steps: normals, surface."""

    name = "poisson"
    steps = 2

    def __init__(
        self,
        points: Float64[np.ndarray, "n 3"],
        normals: np.ndarray | None,
        config: PoissonConfig,
        frame: Frame,
    ) -> None:
        self.points, self.config, self.frame = points, config, frame
        self.spacing = spacing(points)
        self.normals = np.zeros((0, 3)) if normals is None else np.asarray(normals, np.float64)
        self.vertices, self.faces = np.zeros((0, 3)), np.zeros((0, 3), np.int64)
        self.beyond = np.zeros(0)

    def step(self, i: int) -> dict[str, float]:
        if i == 0:
            if not len(self.normals):
                self.normals = oriented_normals(self.points)
        else:
            mesh, _ = open3d_module().geometry.TriangleMesh.create_from_point_cloud_poisson(
                open3d_cloud(self.points, self.normals), depth=self.config.depth or self._depth, n_threads=1
            )
            self.vertices, self.faces = np.asarray(mesh.vertices), np.asarray(mesh.triangles).astype(np.int64)
            if len(self.faces):
                self.beyond = KDTree(self.points).query(self.vertices)[0] / self.spacing
        return {}

    def state_dict(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ("normals", "vertices", "faces", "beyond")}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.normals, self.vertices = state["normals"], state["vertices"]
        self.faces, self.beyond = state["faces"], state["beyond"]

    def preview(self) -> Scene | None:
        return Scene(mesh=self.result(), frame=self.frame) if len(self.faces) else None

    def result(self) -> trimesh.Trimesh:
        import trimesh

        faces = self.faces if self.is_closed else self.faces[self._near_faces]
        mesh = trimesh.Trimesh(self.vertices, faces, process=False)
        mesh.remove_unreferenced_vertices()
        mesh = split_non_manifold(mesh)  # Poisson's parts touch each other at edges where the points are noisy
        return without_holes(mesh, len(faces)) if self.is_closed else mesh

    @property
    def is_closed(self) -> bool:
        """Whether all of the surface is kept."""
        if self.config.closed or self.config.open:
            return self.config.closed
        return self._made_up_share <= MADE_UP and not self._leaves_the_box

    @property
    def note(self) -> str:
        """Which it is, and why."""
        which = "closed" if self.is_closed else "open"
        if self.config.closed or self.config.open:
            return f"poisson: {which}, as asked for"
        why = f"{self._made_up_share:.1%} of the surface is farther than {TRIM} spacings from the points"
        if self._leaves_the_box:
            why += " and it does not close around them"
        return f"poisson: taken as {which}, since {why}; --closed and --open overrule it"

    @property
    def _depth(self) -> int:
        """The least at which a cell is no larger than the spacing, within reason."""
        return int(np.clip(math.ceil(math.log2(SIDE / self.spacing)), SHALLOWEST, DEEPEST))

    @property
    def _near_faces(self) -> Bool[np.ndarray, " f"]:
        return np.asarray(self.beyond[self.faces].max(1) <= TRIM)

    @property
    def _leaves_the_box(self) -> bool:
        return Topology(self.faces, len(self.vertices)).boundary_loops > 0

    @property
    def _made_up_share(self) -> float:
        """The part of the surface's area that is far from the points."""
        a, b, c = self.vertices[self.faces].transpose(1, 0, 2)
        areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        return float(areas[~self._near_faces].sum() / max(areas.sum(), np.finfo(float).tiny))


def open3d_module() -> Any:
    """Open3D, loaded when it is needed."""
    from render.raycasting import import_open3d

    return import_open3d()


def open3d_cloud(points: Float64[np.ndarray, "n 3"], normals: np.ndarray) -> Any:
    """Open3D's cloud of points with normals."""
    open3d = open3d_module()
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.normals = open3d.utility.Vector3dVector(np.asarray(normals, np.float64))
    return cloud
