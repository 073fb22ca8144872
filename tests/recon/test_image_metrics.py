"""PSNR and SSIM against their formulas, scikit-image, and masks."""

import numpy as np
import pytest

from recon.image_metrics import psnr, ssim


def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(0, 6, 90), np.linspace(0, 4, 70))
    truth = np.stack([0.5 + 0.4 * np.sin(x * k) * np.cos(y) for k in (1, 2, 3)], axis=2)
    return np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1).astype(np.float32), truth.astype(np.float32)


def test_psnr_of_a_known_error():
    truth = np.full((8, 9, 3), 0.5, np.float32)
    assert psnr(truth + 0.1, truth) == pytest.approx(20.0, abs=1e-4)
    assert psnr(truth, truth) == 100.0


def test_ssim_is_that_of_scikit_image_with_zeros_beyond_the_border():
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    picture, truth = pictures()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    padded = [np.pad(image, ((12, 12), (12, 12), (0, 0))) for image in (picture, truth)]
    _, theirs = structural_similarity(*padded, channel_axis=2, full=True, **options)
    assert ssim(picture, truth) == pytest.approx(float(theirs[12:-12, 12:-12].mean()), abs=1e-4)


def test_what_the_mask_leaves_out_counts_for_nothing():
    picture, truth = pictures()
    mask = np.zeros(truth.shape[:2], bool)
    mask[:, :40] = True
    spoiled = picture.copy()
    spoiled[:, 40:] = 0.0
    assert psnr(spoiled, truth, mask) == psnr(picture, truth, mask)
    assert ssim(spoiled, truth, mask) == ssim(picture, truth, mask)
    assert psnr(spoiled, truth) < 15
