"""How much a rendered picture looks like the photo: PSNR and SSIM, over the whole picture or where a mask says.

Pictures are (h, w, 3) in [0, 1]. A photo with alpha is compared over white.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from recon.inputs import View

LEAST_ERROR = 1e-10  # 100 dB


def photo_of(view: View) -> Float32[np.ndarray, "h w 3"]:
    """The view's image, on white where it is transparent."""
    image = view.image().astype(np.float32) / 255
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:]
    return image[..., :3] * alpha + 1 - alpha


def likeness(view: View, rendered: UInt8[np.ndarray, "h w 3"]) -> tuple[float, float]:
    """PSNR (dB) and SSIM of what was rendered in a view's place, where it is to be looked at."""
    picture, photo = rendered.astype(np.float32) / 255, photo_of(view)
    mask = None if view.mask is None else view.mask()
    return psnr(picture, photo, mask), ssim(picture, photo, mask)


def psnr(
    picture: Float[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"] | None = None
) -> float:
    """Peak signal-to-noise ratio in dB: -10 log10 of the mean squared error; 100 where nothing differs."""
    error = (np.asarray(picture, np.float64) - truth) ** 2
    return float(-10 * np.log10(max(_mean(error, mask), LEAST_ERROR)))


def ssim(
    picture: Float32[np.ndarray, "h w 3"],
    truth: Float32[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """Structural similarity (Wang et al. 2004), the mean over pixels and channels; beyond the border there are zeros,
    as in the evaluation of 3D Gaussian Splatting (Kerbl et al. 2023)."""
    import torch

    from recon.gaussians.photometric import ssim_map

    if mask is not None:  # what is not looked at must not disturb the windows beside it
        picture = np.where(mask[..., None], picture, truth)
    pair = (torch.from_numpy(np.ascontiguousarray(image, np.float32)) for image in (picture, truth))
    return _mean(ssim_map(*pair).numpy(), mask)


def _mean(values: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"] | None) -> float:
    counted = values if mask is None or not mask.any() else values[mask]
    return float(counted.mean(dtype=np.float64))
