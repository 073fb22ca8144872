"""What trained Gaussians make of the views that were held out."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from recon.gaussians.model import Gaussians
from recon.gaussians.tensors import to_splats
from recon.inputs import View, Views
from recon.scene import Frame, SceneCamera
from render.splats import render_image

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def scene_cameras(
    gaussians: Gaussians, views: Views, frame: Frame, background: tuple[float, float, float], device: str = "cpu"
) -> tuple[SceneCamera, ...]:
    """The views' cameras in the frame's coordinates; those held out with the picture that the Gaussians, which are in
    these coordinates too, give of them."""
    into_frame, splats = frame.inverse(), to_splats(gaussians, device)
    cameras = []
    for view in views.views:
        camera = into_frame.camera_to_user(view.camera)
        rendered = None
        if view.held_out:
            rendered = _eight_bits(render_image(splats, camera, background, gaussians.antialiased))
        cameras.append(SceneCamera(view.name, camera, bool(view.held_out), rendered))
    return tuple(cameras)


def figures(view: View, rendered: UInt8[np.ndarray, "h w 3"]) -> tuple[float, float]:
    """PSNR (dB) and SSIM of a rendered picture, where the view is to be looked at; one with alpha is compared over
    white."""
    from recon.image_metrics import psnr, ssim

    image = view.image().astype(np.float32) / 255
    alpha = image[..., 3:] if image.shape[2] == 4 else 1
    truth = image[..., :3] * alpha + 1 - alpha
    picture, mask = rendered.astype(np.float32) / 255, None if view.mask is None else view.mask()
    return psnr(picture, truth, mask), ssim(picture, truth, mask)


def _eight_bits(picture: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    return np.rint(255 * picture[..., :3]).astype(np.uint8)
