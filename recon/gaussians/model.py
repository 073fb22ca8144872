"""Gaussians as they are trained and stored (Kerbl et al., 3D Gaussian Splatting, 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int


@dataclass(frozen=True)
class Gaussians:
    """n Gaussians, all arrays float32: what is trained, not what is drawn.

    `means` are their centres; `log_scales` the logarithms of the standard deviations along their three axes;
    `quaternions` (w, x, y, z; of any length but 0) turn these axes into the world; `opacity_logits` the logits of the
    opacity at the centre; `sh` the coefficients of real spherical harmonics, DC first, k = (degree + 1)^2 of them: a
    colour in sRGB is 0.5 + the sum of coefficients and basis functions of the direction from the camera.

    `antialiased` says that they were trained with the opacity made up for the blur of the picture (Mip-Splatting).
    """

    means: Float32[np.ndarray, "n 3"]
    log_scales: Float32[np.ndarray, "n 3"]
    quaternions: Float32[np.ndarray, "n 4"]
    opacity_logits: Float32[np.ndarray, "n"]
    sh: Float32[np.ndarray, "n k 3"]
    antialiased: bool = False

    def __len__(self) -> int:
        return len(self.means)

    @property
    def scales(self) -> Float32[np.ndarray, "n 3"]:
        """Standard deviations along the axes."""
        return np.exp(self.log_scales)

    @property
    def opacities(self) -> Float32[np.ndarray, "n"]:
        """Opacity at the centres, in (0, 1)."""
        return 1 / (1 + np.exp(-self.opacity_logits))

    @property
    def rotations(self) -> Float32[np.ndarray, "n 4"]:
        """The quaternions at unit length."""
        return self.quaternions / np.linalg.norm(self.quaternions, axis=1, keepdims=True)

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return int(np.sqrt(self.sh.shape[1])) - 1

    def subset(self, which: Int[np.ndarray, "m"] | Bool[np.ndarray, "n"]) -> Gaussians:
        """Those of these indices, or where the mask is true."""
        names = ("means", "log_scales", "quaternions", "opacity_logits", "sh")
        return replace(self, **{name: getattr(self, name)[which] for name in names})
