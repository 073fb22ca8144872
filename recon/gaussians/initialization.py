"""Where Gaussians begin: at the points that are known of the scene, or at random in the space that the cameras see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.spatial import KDTree

from recon.gaussians.model import Gaussians
from recon.inputs import Views
from recon.scene import Frame
from render.cameras import Camera
from render.harmonics import DC

OPACITY = 0.1
CONTENT = (0.02, 0.98)  # quantiles of the points that bound what is wanted of the scene
FARTHEST = 10.0  # the background ends so many times as far away as the content


def frame_of(views: Views, cameras: Sequence[Camera]) -> Frame:
    """The frame in which the content is [-1, 1]^3: the points but for their outliers, or, where none are known, the
    cube around the place that the cameras look at which their pictures just hold."""
    if views.points is not None and len(views.points.points):
        points = views.points.points
        low, high = np.quantile(points, CONTENT, axis=0)
        inside = points[((points >= low) & (points <= high)).all(1)]
        return Frame.fitting(inside if len(inside) > 1 else points, views.unit, views.up)
    centers = np.stack([camera.position for camera in cameras])
    forward = np.stack([camera.forward for camera in cameras])
    across = np.eye(3) - forward[:, :, None] * forward[:, None]  # takes away the part along the optical axis
    middle = np.linalg.lstsq(across.sum(0), np.einsum("nij,nj->i", across, centers), rcond=1e-6)[0]
    tangents = [min(c.width / c.intrinsics[0, 0], c.height / c.intrinsics[1, 1]) / 2 for c in cameras]
    half = float(np.median(np.linalg.norm(centers - middle, axis=1) * tangents))
    return Frame.fitting(middle + half * np.array([[-1.0, -1, -1], [1, 1, 1]]), views.unit, views.up)


def camera_extent(cameras: Sequence[Camera]) -> float:
    """1.1 times the largest distance of a camera from their mean: the unit of the published learning rates."""
    centers = np.stack([camera.position for camera in cameras])
    return 1.1 * float(np.linalg.norm(centers - centers.mean(0), axis=1).max()) or 1.0


def gaussians_at(
    points: Float[np.ndarray, "n 3"], colors: Float[np.ndarray, "n 3"], sh_degree: int, antialiased: bool
) -> Gaussians:
    """A round, faint Gaussian at each point, as large as the mean distance to the three nearest others."""
    neighbours = min(4, len(points))
    distances = KDTree(points).query(points, k=neighbours)[0].reshape(len(points), -1)[:, 1:]
    size = distances.mean(1) if neighbours > 1 else np.full(len(points), 0.1)
    size = np.clip(size, 1e-4 * np.median(size) + 1e-7, 10 * np.median(size))
    sh = np.zeros((len(points), (sh_degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = (colors - 0.5) / DC
    return Gaussians(
        means=points.astype(np.float32),
        log_scales=np.repeat(np.log(size)[:, None], 3, 1).astype(np.float32),
        quaternions=np.tile(np.array([1, 0, 0, 0], np.float32), (len(points), 1)),
        opacity_logits=np.full(len(points), np.log(OPACITY / (1 - OPACITY)), np.float32),
        sh=sh,
        antialiased=antialiased,
    )


def points_at_random(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points of [-1, 1]^3 and colours near grey."""
    return rng.uniform(-1, 1, (count, 3)), 0.5 + 0.03 * rng.normal(size=(count, 3))


def known_points(
    views: Views, frame: Frame, most: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """The known points in the frame's coordinates and their colours, thinned at random to at most so many."""
    assert views.points is not None
    points = frame.from_user(views.points.points)
    colors: UInt8[np.ndarray, "n 3"] | Float32[np.ndarray, "n 3"]
    colors = np.full(points.shape, 0.5, np.float32) if views.points.colors is None else views.points.colors / 255
    chosen = np.sort(rng.choice(len(points), min(most, len(points)), replace=False))
    return points[chosen], colors[chosen]


def far_points(
    count: int, cameras: Sequence[Camera], up: Float[np.ndarray, "3"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Grey points beyond the content, ever sparser with the distance, for the sky and whatever else lies far behind:
    along `count` rays of the cameras, of which those below the horizon are left out. They end on the ground, and
    measured on photos straight down far points cost a decibel."""
    which = rng.integers(0, len(cameras), count)
    points, above = np.empty((count, 3)), np.zeros(count, bool)
    for k, camera in enumerate(cameras):
        own = which == k
        u, v = rng.uniform(0, camera.width, own.sum()), rng.uniform(0, camera.height, own.sum())
        pixels = np.stack([u, v, np.ones(own.sum())], 1)
        rays = pixels @ np.linalg.inv(camera.intrinsics).T @ camera.world_to_camera[:3, :3]
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        nearest = np.sqrt(3) + np.linalg.norm(camera.position)
        points[own] = camera.position + rays * nearest * FARTHEST ** rng.random((own.sum(), 1))
        above[own] = rays @ up > 0
    return points[above], np.full((above.sum(), 3), 0.5)
