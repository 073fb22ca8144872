"""The rasteriser on CUDA: gsplat's kernels, called one by one as its own `rasterization` does.

gsplat blends any number of channels in one pass, so that depth, normal and features ride along with the colour. It
knows no median: a second pass lists the pairs of Gaussian and pixel, a batch of each tile's list at a time. It computes
no gradient to the intrinsics, clamps alpha at 0.999 where the CPU does at 0.99, and leaves out the Gaussian that takes
T below 1e-4, which the CPU counts.
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
    screen_offsets: Tensor,
) -> Rendering:
    """`render.splats.rasterize` for tensors on a CUDA device."""
    position = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    splats = _without_broken(splats, position.detach())
    opacities = torch.sigmoid(splats.opacity_logits)
    radii, centers, depths, conics, compensations = fully_fused_projection(
        splats.means, None, splats.quaternions, torch.exp(splats.log_scales), world_to_camera[None], intrinsics[None],
        width, height, calc_compensations=antialiased, opacities=opacities,
    )  # fmt: skip
    centers, opacities = centers + screen_offsets, opacities[None]
    if antialiased:
        opacities = opacities * compensations
    visible = (radii > 0).all(-1)
    directions = splats.means - position
    color = spherical_harmonics(sh_degree, directions[None], splats.sh[None], masks=visible)
    values = [(color + 0.5).clamp_min(0)]
    if geometry:
        values += [depths[..., None], _normals(splats, directions)[None]]
    if features is not None:
        values += [features[None]]

    columns, rows = -(-width // TILE), -(-height // TILE)
    _, hits, ids = isect_tiles(centers, radii, depths, TILE, columns, rows, packed=False, n_images=1)
    starts = isect_offset_encode(hits, 1, columns, rows).reshape(1, rows, columns)
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
        visible[0], screen_offsets,
    )  # fmt: skip


def _without_broken(splats: Splats, position: Tensor) -> Splats:
    """Gaussians with a number that is not finite, or a quaternion of length 0, put where no camera sees them: at its
    own position. The others keep their gradients."""
    whole = (splats.quaternions != 0).any(1)
    for tensor in splats:
        whole = whole & tensor.isfinite().flatten(1).all(1) if tensor.dim() > 1 else whole & tensor.isfinite()
    shown = [
        torch.where(whole.reshape(-1, *[1] * (tensor.dim() - 1)), tensor, torch.zeros_like(tensor)) for tensor in splats
    ]
    return Splats(torch.where(whole[:, None], shown[0], position), *shown[1:])


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
