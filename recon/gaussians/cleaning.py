"""Which Gaussians to keep: masks, so that what was taken away can be brought back."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from recon.gaussians.model import Gaussians

LARGEST = 1e12
"""Beyond it a coordinate is no length, and squares of such numbers overflow float32 soon."""


def is_finite(gaussians: Gaussians) -> Bool[np.ndarray, "n"]:
    """Those whose numbers are all finite, whose scales float32 can hold, and whose quaternion has a direction."""
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = (
            (np.abs(gaussians.means) <= LARGEST).all(axis=1)
            & (np.abs(gaussians.log_scales) < np.log(np.finfo(np.float32).max)).all(axis=1)
            & np.isfinite(gaussians.opacity_logits)
            & np.isfinite(gaussians.sh).all(axis=(1, 2))
        )
        length = np.linalg.norm(gaussians.quaternions, axis=1)
        return numbers & np.isfinite(length) & (length > 1e-12)
