"""Pictures of 3D Gaussians, differentiable: numba kernels on the CPU, gsplat on CUDA."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int

from render.cameras import Camera

if TYPE_CHECKING:
    import torch


class Splats(NamedTuple):
    """n Gaussians as they are trained, float32 tensors on one device.

    Standard deviations are exp(log_scales), opacities sigmoid(opacity_logits), quaternions (w, x, y, z) of any length
    but 0; `sh` are coefficients of real spherical harmonics, DC first, k = (degree + 1)^2.
    """

    means: Float32[torch.Tensor, "n 3"]
    log_scales: Float32[torch.Tensor, "n 3"]
    quaternions: Float32[torch.Tensor, "n 4"]
    opacity_logits: Float32[torch.Tensor, "n"]
    sh: Float32[torch.Tensor, "n k 3"]


class Rendering(NamedTuple):
    """One picture of splats.

    With T_i the transmittance in front of Gaussian i and w_i = T_i alpha_i: `color` is the sum of w_i and colour over
    the background, `alpha` the sum of w_i, `features` the sum of w_i and feature. With geometry, `depth` is the mean
    depth along the camera's forward axis (the weighted mean; 0 where alpha is 0), `median_depth` the depth of the
    Gaussian at which T crosses one half and `ids` its index (0 and -1 where it does not), `normal` the sum of w_i and
    the unit world vector along the thinnest axis, turned towards the camera.

    `visible` tells which Gaussians touch the picture.
    """

    color: Float32[torch.Tensor, "h w 3"]
    alpha: Float32[torch.Tensor, "h w"]
    depth: Float32[torch.Tensor, "h w"] | None
    median_depth: Float32[torch.Tensor, "h w"] | None
    normal: Float32[torch.Tensor, "h w 3"] | None
    ids: Int[torch.Tensor, "h w"] | None
    features: Float32[torch.Tensor, "h w c"] | None
    visible: Bool[torch.Tensor, "n"]


def rasterize(
    splats: Splats,
    world_to_camera: Float32[torch.Tensor, "4 4"],
    intrinsics: Float32[torch.Tensor, "3 3"],
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    background: Float32[torch.Tensor, "3"] | None = None,
    antialiased: bool = False,
    geometry: bool = False,
    features: Float32[torch.Tensor, "n c"] | None = None,
) -> Rendering:
    """Blends the splats seen by a pinhole camera; on the device of `splats.means`.

    Gradients reach the splats, the features, the background and the camera, on CUDA but for its `intrinsics`.
    `world_to_camera` is rigid; `sh_degree` limits the harmonics used (all by default); `background` is black by
    default. `antialiased` makes up for the blur of a pixel by the opacity (Mip-Splatting). A Gaussian with a number
    that is not finite is left out. The median depth passes its gradient to the depth of the Gaussian that it was taken
    from.

    Raises:
        ValueError: shapes that do not belong together.
    """
    _check(splats, features)
    degree = math.isqrt(splats.sh.shape[1]) - 1 if sh_degree is None else sh_degree
    background = splats.means.new_zeros(3) if background is None else background
    if splats.means.is_cpu:
        from render.splats.cpu import rasterize_on_cpu as backend
    else:
        from render.splats.cuda import rasterize_on_cuda as backend
    return backend(
        splats, world_to_camera, intrinsics, width, height, degree, background, antialiased, geometry, features
    )


def render_image(
    splats: Splats,
    camera: Camera,
    background: tuple[float, float, float] = (0.0, 0.0, 0.0),
    antialiased: bool = False,
) -> Float32[np.ndarray, "h w 4"]:
    """A picture as numpy: colour in [0, 1] over the background, and alpha."""
    import torch

    device = splats.means.device
    view, lens, behind = (
        torch.tensor(np.asarray(array), dtype=torch.float32, device=device)
        for array in (camera.world_to_camera, camera.intrinsics, background)
    )
    with torch.no_grad():
        picture = rasterize(splats, view, lens, camera.width, camera.height, background=behind, antialiased=antialiased)
    return torch.dstack([picture.color.clamp(0, 1), picture.alpha]).cpu().numpy()


def _check(splats: Splats, features: torch.Tensor | None) -> None:
    n, k = len(splats.means), splats.sh.shape[1]
    shapes = ((n, 3), (n, 3), (n, 4), (n,), (n, k, 3))
    for name, tensor, shape in zip(splats._fields, splats, shapes, strict=True):
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            raise ValueError(f"splats.{name} is {tuple(tensor.shape)} of {tensor.dtype}, it must be {shape} of float32")
    if k not in (1, 4, 9, 16):
        raise ValueError(f"splats.sh holds {k} coefficients a channel, there must be 1, 4, 9 or 16")
    if features is not None and (features.dim() != 2 or len(features) != n):
        raise ValueError(f"features are {tuple(features.shape)}, they must be ({n}, c)")
