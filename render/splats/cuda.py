"""The rasteriser on CUDA: gsplat's kernels, called one by one as its own `rasterization` does.

gsplat blends any number of channels in one pass, so that depth, normal and features ride along with the colour. It
knows no median: a second pass lists the pairs of Gaussian and pixel, a batch of each tile's list at a time. It computes
no gradient to the intrinsics, clamps alpha at 0.999 where the CPU does at 0.99, and leaves out the Gaussian that takes
T below 1e-4, which the CPU counts. What it gives of a Gaussian that the picture does not show is memory as it was
found: any number, or none.
"""

from __future__ import annotations

import torch
from gsplat.cuda._wrapper import (
    fully_fused_projection,
    isect_offset_encode,
    isect_tiles,
    rasterize_to_indices_in_range,
    rasterize_to_pixels,
    spherical_harmonics,
)
from torch import Tensor

from render.splats import Rendering, Splats
from render.splats.reference import rotations

LARGEST = 1e30  # of any number
LARGEST_LOG_SCALE = 20.0  # the determinant of a covariance is about its fourth power
TRANSPARENT = Splats(0.0, 0.0, 1.0, -torch.inf, 0.0)  # type: ignore[arg-type]  # for what cannot be drawn
TILE = 16
BATCH = TILE * TILE  # hits of a tile that gsplat looks at together
CHANNELS_AT_ONCE = 32


def rasterize_on_cuda(
    splats: Splats,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
    sh_degree: int,
    background: Tensor,
    antialiased: bool,
    geometry: bool,
    features: Tensor | None,
) -> Rendering:
    """`render.splats.rasterize` for tensors on a CUDA device."""
    if len(splats.means) == 0:
        return _empty(splats, width, height, background, geometry, features)
    splats = _without_broken(splats)
    opacities = torch.sigmoid(splats.opacity_logits)
    radii, centers, depths, conics, compensations = fully_fused_projection(
        splats.means, None, splats.quaternions, torch.exp(splats.log_scales), world_to_camera[None], intrinsics[None],
        width, height, calc_compensations=antialiased, opacities=opacities,
    )  # fmt: skip
    opacities = opacities[None]
    if antialiased:
        opacities = opacities * compensations
    visible = (radii > 0).all(-1)
    position = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    directions = splats.means - position
    color = spherical_harmonics(sh_degree, directions[None], splats.sh[None], masks=visible)
    values = [(color + 0.5).clamp_min(0)]
    if geometry:
        values += [depths[..., None], _normals(splats, directions)[None]]
    if features is not None:
        values += [features[None]]

    columns, rows = -(-width // TILE), -(-height // TILE)
    _, hits, ids = isect_tiles(centers, radii, depths, TILE, columns, rows)
    starts = isect_offset_encode(hits, 1, columns, rows)
    shapes = (centers, conics, opacities)
    image, alpha = _blend(shapes, torch.cat(values, -1), width, height, starts, ids)
    color = image[..., :3] + (1 - alpha)[..., None] * background
    depth = median_depth = normal = median = None
    if geometry:
        median = _gaussians_at_median(shapes, width, height, starts, ids)
        depth, normal = image[..., 3] / alpha.clamp_min(1e-10), image[..., 4:7]
        median_depth = torch.where(median >= 0, depths[0, median.clamp_min(0).long()], 0)
    first_feature = 7 if geometry else 3
    return Rendering(
        color, alpha, depth, median_depth, normal, median, None if features is None else image[..., first_feature:],
        visible[0],
    )  # fmt: skip


def _empty(
    splats: Splats,
    width: int,
    height: int,
    background: Tensor,
    geometry: bool,
    features: Tensor | None,
) -> Rendering:
    """The picture of no Gaussian at all: gsplat would divide by their number."""
    nothing = torch.stack([tensor.sum() for tensor in splats]).sum()  # with a gradient to each
    zeros = nothing.expand(height, width)
    median = torch.full((height, width), -1, dtype=torch.int32, device=zeros.device)
    return Rendering(
        zeros[..., None] + background,
        zeros,
        zeros if geometry else None,
        zeros if geometry else None,
        zeros[..., None].expand(-1, -1, 3) if geometry else None,
        median if geometry else None,
        None if features is None else zeros[..., None].expand(-1, -1, features.shape[1]),
        torch.zeros(0, dtype=torch.bool, device=zeros.device),
    )


def _without_broken(splats: Splats) -> Splats:
    """Gaussians with a number that is not finite or beyond reason, or a quaternion of length 0, made transparent: then
    gsplat leaves them out, and never reads their harmonics. The others keep their gradients."""
    with torch.no_grad():
        whole = (splats.quaternions != 0).any(1) & (splats.log_scales < LARGEST_LOG_SCALE).all(1)
        for tensor in splats:
            whole &= torch.linalg.vector_norm(tensor.reshape(len(tensor), -1), torch.inf, 1) < LARGEST
    means, log_scales, quaternions, logits = (
        torch.where(whole.view(-1, *[1] * (tensor.dim() - 1)), tensor, filling)
        for tensor, filling in zip(splats[:4], TRANSPARENT[:4], strict=True)
    )
    return Splats(means, log_scales, quaternions, logits, splats.sh)


def _normals(splats: Splats, directions: Tensor) -> Tensor:
    """The thinnest axes, turned towards the camera."""
    thinnest = splats.log_scales.argmin(1)
    axes = rotations(splats.quaternions)[torch.arange(len(thinnest), device=thinnest.device), :, thinnest]
    return torch.where((axes * directions).sum(1, keepdim=True) > 0, -axes, axes)


def _blend(shapes, values: Tensor, width: int, height: int, starts: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The channels (h, w, c) over black, and alpha (h, w)."""
    parts = [
        rasterize_to_pixels(shapes[0], shapes[1], part, shapes[2], width, height, TILE, starts, ids)
        for part in values.split(CHANNELS_AT_ONCE, -1)
    ]
    return torch.cat([image[0] for image, _ in parts], -1), parts[0][1][0, ..., 0]


@torch.no_grad()
def _gaussians_at_median(shapes, width: int, height: int, starts: Tensor, ids: Tensor) -> Tensor:
    """The index (h, w) of the Gaussian at which T crosses one half, -1 where it does not."""
    centers, conics, opacities = shapes
    median = torch.full((height * width,), -1, dtype=torch.int32, device=centers.device)
    T = torch.ones(height * width, device=centers.device)
    bounds = torch.cat([starts.flatten(), starts.new_tensor([len(ids)])])
    for first in range(-(-int(bounds.diff().max()) // BATCH)):
        open_yet = torch.where(T > 0.5, T, 0)  # gsplat skips a pixel through which nothing is seen
        gaussians, pixels, _ = rasterize_to_indices_in_range(
            first, first + 1, open_yet.reshape(1, height, width), centers, conics, opacities, width, height, TILE,
            starts, ids,
        )  # fmt: skip
        if len(pixels) == 0:
            continue
        alpha = _alphas(gaussians, pixels, shapes, width)
        # the pairs of a pixel stand together, nearest first: T in front of each from the running sum of log(1 - alpha)
        through = torch.log1p(-alpha)
        total = through.cumsum(0)
        seen, counts = torch.unique_consecutive(pixels, return_counts=True)
        last = counts.cumsum(0) - 1
        before = (total - through)[last - counts + 1].repeat_interleave(counts)
        behind = T[pixels] * torch.exp(total - before)
        crosses = (behind <= 0.5) & (behind / (1 - alpha) > 0.5)
        median[pixels[crosses]] = gaussians[crosses].int()
        T[seen] = behind[last].float()
    return median.reshape(height, width)


def _alphas(gaussians: Tensor, pixels: Tensor, shapes, width: int) -> Tensor:
    """Alpha of each pair, float64."""
    centers, conics, opacities = (tensor[0, gaussians].double() for tensor in shapes)
    dx = centers[:, 0] - (pixels % width + 0.5)
    dy = centers[:, 1] - (torch.div(pixels, width, rounding_mode="floor") + 0.5)
    q = 0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) + conics[:, 1] * dx * dy
    return (opacities * torch.exp(-q)).clamp_max(0.999)
