"""What a method yields, and the frame that takes it back to the user's coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64, UInt8, UInt16

from recon.inputs import PointCloud
from recon.slices import Label
from render.cameras import Camera

if TYPE_CHECKING:
    import trimesh

    from recon.gaussians.model import Gaussians


@dataclass(frozen=True)
class Frame:
    """The similarity from reconstruction to user coordinates: user = scale * rotation @ x + translation.

    `unit` is the user's unit of length ("mm", "m" or "unknown"), `up` the user's upward direction.
    """

    scale: float = 1.0
    rotation: Float64[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    translation: Float64[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    unit: str = "unknown"
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)

    @classmethod
    def fitting(cls, points: Float[np.ndarray, "n 3"], unit: str, up: tuple[float, float, float]) -> Frame:
        """The frame in which the points' bounding box is centred and its longest side is [-1, 1]."""
        low, high = points.min(0), points.max(0)
        scale = float((high - low).max()) / 2
        return cls(scale or 1.0, np.eye(3), (low + high) / 2, unit, up)

    def to_user(self, points: Float[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
        """Reconstruction coordinates to the user's, in float64."""
        return self.scale * (np.asarray(points, np.float64) @ self.rotation.T) + self.translation

    def from_user(self, points: Float[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
        """The user's coordinates to reconstruction coordinates."""
        return ((np.asarray(points, np.float64) - self.translation) @ self.rotation) / self.scale

    def inverse(self) -> Frame:
        """The similarity from user to reconstruction coordinates."""
        back = self.rotation.T
        return replace(self, scale=1 / self.scale, rotation=back, translation=-back @ self.translation / self.scale)

    def camera_to_user(self, camera: Camera) -> Camera:
        """The camera that sees, in the user's coordinates, what the given one sees in reconstruction coordinates.

        With x_user = s R x + t and camera coordinates A x + b, which are scaled as the world is, s (A x + b) is
        A R^T x_user + s b - A R^T t.
        """
        moved = np.eye(4)
        moved[:3, :3] = camera.world_to_camera[:3, :3] @ self.rotation.T
        moved[:3, 3] = self.scale * camera.world_to_camera[:3, 3] - moved[:3, :3] @ self.translation
        return replace(camera, world_to_camera=moved)


@dataclass(frozen=True)
class LabelGrid:
    """The reconstructed label at the nodes of a lattice: node (i, j, k) stands at `affine @ (i, j, k, 1)` in the
    user's coordinates. Kept by methods whose input is a label volume, on that volume's own voxels."""

    labels: UInt16[np.ndarray, "nx ny nz"]
    affine: Float64[np.ndarray, "4 4"]


@dataclass(frozen=True)
class SceneCamera:
    """A camera of the input in reconstruction coordinates; `name` is its image's path relative to the input.

    `rendered` is what the method makes of the view, 8-bit sRGB, for views that were held out.
    """

    name: str
    camera: Camera
    held_out: bool = False
    rendered: UInt8[np.ndarray, "h w 3"] | None = None


@dataclass
class Scene:
    """What a method yields, in reconstruction coordinates, with the frame back to the user's.

    `objects` maps a label's name to its surface, and `labels` gives their ids and colours in the same order; a scene
    of one piece without a name has `mesh` instead. Faces are counter-clockwise seen from outside. `points` are the
    samples that a method for clouds worked out: the input's with normals, or denser ones. `gaussians` and `cameras` are
    those of methods for views.
    """

    mesh: trimesh.Trimesh | None = None
    objects: dict[str, trimesh.Trimesh] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()
    label_grid: LabelGrid | None = None
    points: PointCloud | None = None
    gaussians: Gaussians | None = None
    cameras: tuple[SceneCamera, ...] = ()
    frame: Frame = field(default_factory=Frame)
    notes: tuple[str, ...] = ()

    @property
    def has_mesh(self) -> bool:
        """Whether there is a face anywhere in it."""
        meshes = [*self.objects.values(), *([] if self.mesh is None else [self.mesh])]
        return any(len(mesh.faces) for mesh in meshes)

    def _moved(self, cloud: PointCloud) -> PointCloud:
        normals = None if cloud.normals is None else (cloud.normals @ self.frame.rotation.T).astype(np.float32)
        return replace(cloud, points=self.frame.to_user(cloud.points), normals=normals)

    def in_user_frame(self) -> Scene:
        """A copy in the user's coordinates, meshes, points and cameras in float64; its frame keeps only unit and up."""

        def moved(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
            copy = mesh.copy()
            copy.vertices = self.frame.to_user(np.asarray(mesh.vertices))
            return copy

        return replace(
            self,
            mesh=None if self.mesh is None else moved(self.mesh),
            objects={name: moved(mesh) for name, mesh in self.objects.items()},
            points=None if self.points is None else self._moved(self.points),
            gaussians=None
            if self.gaussians is None
            else self.gaussians.transformed(self.frame.scale, self.frame.rotation, self.frame.translation),
            cameras=tuple(replace(one, camera=self.frame.camera_to_user(one.camera)) for one in self.cameras),
            frame=Frame(unit=self.frame.unit, up=self.frame.up),
        )
