"""Ball pivoting, Open3D's: triangles between points that a ball touches as it rolls over the cloud.

Bernardini, Mittleman, Rushmeier, Silva, Taubin, "The ball-pivoting algorithm for surface reconstruction", 1999. Balls
of 1, 1.5, 2 and 3 spacings roll one after the other. A baseline: the mesh joins the points themselves, which is exact
without noise and hopeless with it; it ends where the points end; small holes stay where the ball falls through.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.inputs import PointCloud
from recon.limits import Cost
from recon.methods.poisson import open3d_cloud, open3d_module
from recon.methods.tangent_planes import distinct, oriented_normals, spacing
from recon.scene import Frame, Scene
from recon.surface.colors import carried

if TYPE_CHECKING:
    import trimesh

    from recon.training import Trainer

SECONDS_A_POINT = 30e-6
MEGABYTES, MEGABYTES_A_POINT = 330, 2e-3


class BallPivotingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Ball pivoting."""

    radii: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    """Radii of the balls, in spacings of the points."""

    @classmethod
    def at(cls, quality: Literal["draft", "standard", "high"]) -> BallPivotingConfig:
        """The config of a quality: the same for all."""
        return cls()


def ball_pivoting(cloud: PointCloud, config: BallPivotingConfig, train: Trainer) -> Scene:
    """One mesh whose vertices are points of the cloud.

    Raises:
        UserError: the cloud has too few distinct points, a radius is not positive, or no ball touches three points.
    """
    if not config.radii or min(config.radii) <= 0:
        raise UserError(f"--radii {' '.join(map(str, config.radii))}: expected one or more positive numbers")
    cloud = distinct(cloud)
    frame = Frame.fitting(cloud.points, cloud.unit, cloud.up)
    cloud = replace(cloud, points=frame.from_user(cloud.points))
    mesh = train(BallPivotingStage(cloud.points, cloud.normals, config, frame))
    if not len(mesh.faces):
        raise UserError("--method ball-pivoting: no ball touches three points; are the points on a surface?")
    return Scene(mesh=carried(mesh, cloud), frame=frame)


def estimate(cloud: PointCloud, config: BallPivotingConfig, device: str) -> Cost:
    """CPU seconds and memory, as measured on clouds of 5,000 to 200,000 points."""
    count = len(cloud.points)
    return Cost(count * SECONDS_A_POINT, MEGABYTES + count * MEGABYTES_A_POINT, "thinning the points needs less")


class BallPivotingStage:
    """Two steps: normals, triangles."""

    name = "ball-pivoting"
    steps = 2

    def __init__(
        self,
        points: Float64[np.ndarray, "n 3"],
        normals: np.ndarray | None,
        config: BallPivotingConfig,
        frame: Frame,
    ) -> None:
        self.points, self.config, self.frame = points, config, frame
        self.normals = np.zeros((0, 3)) if normals is None else np.asarray(normals, np.float64)
        self.faces = np.zeros((0, 3), np.int64)

    def step(self, i: int) -> dict[str, float]:
        if i == 0:
            if not len(self.normals):
                self.normals = oriented_normals(self.points)
        else:
            radii = open3d_module().utility.DoubleVector(spacing(self.points) * np.array(self.config.radii))
            mesh = open3d_module().geometry.TriangleMesh.create_from_point_cloud_ball_pivoting(
                open3d_cloud(self.points, self.normals), radii
            )
            self.faces = np.asarray(mesh.triangles).astype(np.int64)
        return {}

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"normals": self.normals, "faces": self.faces}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.normals, self.faces = state["normals"], state["faces"]

    def preview(self) -> Scene | None:
        return Scene(mesh=self.result(), frame=self.frame) if len(self.faces) else None

    def result(self) -> trimesh.Trimesh:
        import trimesh

        mesh = trimesh.Trimesh(self.points, self.faces, process=False)
        mesh.remove_unreferenced_vertices()
        return mesh
