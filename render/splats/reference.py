"""The rasteriser once more in plain torch, slow and obvious: what the kernels are tested against.

Every pixel meets every Gaussian, in any float type (float64 for the tests), and autograd makes the gradients. The
formulas are those of `projection.py` and `blending.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from render.harmonics import harmonics
from render.splats import Rendering, Splats

NEAR, BLUR, MIN_ALPHA, MIN_TRANSMITTANCE = 0.01, 0.3, 1 / 255, 1e-4


def rasterize_slowly(
    splats: Splats,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    background: Tensor | None = None,
    antialiased: bool = False,
    features: Tensor | None = None,
    max_alpha: float = 0.99,
) -> Rendering:
    """As `render.splats.rasterize` with geometry; memory and time grow as n times height times width."""
    n = len(splats.means)
    degree = int(splats.sh.shape[1] ** 0.5) - 1 if sh_degree is None else sh_degree
    turn, shift = world_to_camera[:3, :3], world_to_camera[:3, 3]
    camera = splats.means @ turn.T + shift
    order = torch.argsort(camera[:, 2], stable=True)
    order = order[camera[order, 2] > NEAR]
    splats = Splats(*(tensor[order] for tensor in splats))
    x, y, z = camera[order].unbind(-1)

    rotation = rotations(splats.quaternions)
    covariance, sharp = _covariances(x, y, z, turn, rotation, splats.log_scales, intrinsics, width, height)
    det, sharp_det = torch.linalg.det(covariance), torch.linalg.det(sharp)
    opacity = torch.sigmoid(splats.opacity_logits)
    if antialiased:
        opacity = opacity * (sharp_det / det).clamp_min(1e-12).sqrt()
    center = torch.stack(
        [
            intrinsics[0, 0] * x / z + intrinsics[0, 2],
            intrinsics[1, 1] * y / z + intrinsics[1, 2],
        ],
        -1,
    )
    alpha = _alphas(
        center,
        torch.linalg.inv(covariance),
        opacity,
        width,
        height,
        max_alpha,
    )

    towards = torch.nn.functional.normalize(splats.means + turn.T @ shift, dim=-1)
    basis = torch.stack(harmonics(towards[:, 0], towards[:, 1], towards[:, 2], degree), -1)
    color = torch.einsum("nk,nkc->nc", basis, splats.sh[:, : (degree + 1) ** 2]) + 0.5
    axis = splats.log_scales.argmin(1)
    normal = rotation[torch.arange(len(axis)), :, axis]
    normal = torch.where((normal * towards).sum(-1, keepdim=True) > 0, -normal, normal)
    values = torch.cat([color.clamp_min(0), z[:, None], normal], 1)
    if features is not None:
        values = torch.cat([values, features[order]], 1)

    before, weights = _weights(alpha)
    left = 1 - weights.sum(0)
    image = torch.einsum("nhw,nc->hwc", weights, values)
    behind = image.new_zeros(3) if background is None else background
    crosses = (before > 0.5) & (before - weights <= 0.5)
    found, which = crosses.any(0), crosses.to(torch.uint8).argmax(0)
    visible = torch.zeros(n, dtype=torch.bool)
    visible[order] = (alpha > 0).flatten(1).any(1)
    return Rendering(
        color=image[..., :3] + left[..., None] * behind,
        alpha=1 - left,
        depth=image[..., 3] / (1 - left).clamp_min(1e-10),
        median_depth=torch.where(found, z[which], 0),
        normal=image[..., 4:7],
        ids=torch.where(found, order[which], -1),
        features=None if features is None else image[..., 7:],
        visible=visible,
    )


def rotations(quaternions: Tensor) -> Tensor:
    """Rotation matrices (n, 3, 3) of quaternions (w, x, y, z) of any length."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def _covariances(x, y, z, turn, rotation, log_scales, intrinsics, width, height) -> tuple[Tensor, Tensor]:
    """Covariances in the picture, with and without the blur of a pixel."""
    (fx, _, cx), (_, fy, cy) = intrinsics[0], intrinsics[1]
    u = torch.clamp(x / z, -cx / fx - 0.15 * width / fx, (width - cx) / fx + 0.15 * width / fx)
    v = torch.clamp(y / z, -cy / fy - 0.15 * height / fy, (height - cy) / fy + 0.15 * height / fy)
    zero = torch.zeros_like(z)
    rows = [
        torch.stack([fx / z, zero, -fx * u / z], -1),
        torch.stack([zero, fy / z, -fy * v / z], -1),
    ]
    footprint = torch.stack(rows, -2) @ turn @ rotation * torch.exp(log_scales)[:, None]
    sharp = footprint @ footprint.transpose(1, 2)
    return sharp + BLUR * torch.eye(2, dtype=sharp.dtype), sharp


def _alphas(center, conic, opacity, width, height, max_alpha) -> Tensor:
    """Alpha (n, h, w) of each Gaussian at each pixel, 0 where it is below 1/255."""
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    dx = center[:, 0, None, None] - columns.to(center)
    dy = center[:, 1, None, None] - rows.to(center)[:, None]
    a, b, c = (conic[:, r, k, None, None] for r, k in ((0, 0), (0, 1), (1, 1)))
    alpha = opacity[:, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    return torch.where(alpha >= MIN_ALPHA, alpha.clamp_max(max_alpha), 0)


def _weights(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Transmittance in front of each Gaussian and its weight, (n, h, w), nearest first."""
    through = torch.cat([torch.ones_like(alpha[:1]), torch.cumprod(1 - alpha, 0)[:-1]])
    alpha = torch.where(through > MIN_TRANSMITTANCE, alpha, 0)
    return through, through * alpha
