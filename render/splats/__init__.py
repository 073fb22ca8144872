"""Pictures of 3D Gaussians, differentiable: numba kernels on the CPU, gsplat on CUDA."""

from __future__ import annotations

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

    `visible` tells which Gaussians touch the picture. `screen_offsets` are zeros (n, 2) added to the centres in the
    picture: after the backward pass `screen_offsets.grad` is the gradient to the centres, in pixels, that density
    control asks for; None where no gradients are computed.
    """

    color: Float32[torch.Tensor, "h w 3"]
    alpha: Float32[torch.Tensor, "h w"]
    depth: Float32[torch.Tensor, "h w"] | None
    median_depth: Float32[torch.Tensor, "h w"] | None
    normal: Float32[torch.Tensor, "h w 3"] | None
    ids: Int[torch.Tensor, "h w"] | None
    features: Float32[torch.Tensor, "h w c"] | None
    visible: Bool[torch.Tensor, "n"]
    screen_offsets: Float32[torch.Tensor, "n 2"] | None


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

    Gradients reach the splats, the features, the background and the camera. `world_to_camera` is rigid; `sh_degree`
    limits the harmonics used (all by default); `background` is black by default. `antialiased` makes up for the blur of
    a pixel by the opacity (Mip-Splatting). A Gaussian with a number that is not finite is left out.
    """
    import torch

    from render.splats.cpu import Rasterize

    n = len(splats.means)
    degree = int(splats.sh.shape[1] ** 0.5) - 1 if sh_degree is None else sh_degree
    black, none = splats.means.new_zeros(3), splats.means.new_zeros(n, 0)
    background = black if background is None else background
    graded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in splats)
    offsets = splats.means.new_zeros(n, 2).requires_grad_(graded)
    position = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    image, alpha, ids, blended, hits = Rasterize.apply(
        *splats, none if features is None else features, offsets, world_to_camera, position, intrinsics, background,
        width, height, degree, antialiased, geometry,
    )  # fmt: skip
    depth = median_depth = normal = None
    if geometry:
        depth = image[..., 3] / alpha.clamp_min(1e-10)
        normal = image[..., 4:]
        z = splats.means @ world_to_camera[2, :3] + world_to_camera[2, 3]
        median_depth = torch.where(ids >= 0, z[ids.clamp_min(0)], 0)
    return Rendering(
        color=image[..., :3] if geometry else image,
        alpha=alpha,
        depth=depth,
        median_depth=median_depth,
        normal=normal,
        ids=ids if geometry else None,
        features=None if features is None else blended,
        visible=hits > 0,
        screen_offsets=offsets if graded else None,
    )


def render_image(
    splats: Splats,
    camera: Camera,
    background: tuple[float, float, float] = (0.0, 0.0, 0.0),
    antialiased: bool = False,
) -> Float32[np.ndarray, "h w 4"]:
    """A picture as numpy: colour in [0, 1] over the background, and alpha."""
    import torch

    view, lens = (torch.tensor(matrix, dtype=torch.float32) for matrix in (camera.world_to_camera, camera.intrinsics))
    with torch.no_grad():
        picture = rasterize(
            splats,
            view,
            lens,
            camera.width,
            camera.height,
            background=torch.tensor(background),
            antialiased=antialiased,
        )
    return np.dstack([picture.color.clamp(0, 1).numpy(), picture.alpha.numpy()])
