"""How much a rendered picture looks like the photo: PSNR and SSIM, over the whole picture or where a mask says.

Pictures are (h, w, 3) in [0, 1].
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

LEAST_ERROR = 1e-10  # 100 dB


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
