"""Gaussians as they are trained and stored (Kerbl et al., 3D Gaussian Splatting, 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from recon.gaussians.harmonics import rotation_matrix
from recon.rotations import rotation_matrices


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
        from scipy.special import expit

        return expit(self.opacity_logits)

    @property
    def rotations(self) -> Float32[np.ndarray, "n 4"]:
        """The quaternions at unit length."""
        return self.quaternions / np.linalg.norm(self.quaternions, axis=1, keepdims=True)

    @property
    def normals(self) -> Float32[np.ndarray, "n 3"]:
        """The axis along which each is thinnest, a unit vector; which of its two ways it points means nothing."""
        axes = rotation_matrices(self.quaternions)
        return axes[np.arange(len(self)), :, self.log_scales.argmin(axis=1)]

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return int(np.sqrt(self.sh.shape[1])) - 1

    def subset(self, which: Int[np.ndarray, "m"] | Bool[np.ndarray, "n"]) -> Gaussians:
        """Those of these indices, or where the mask is true."""
        names = ("means", "log_scales", "quaternions", "opacity_logits", "sh")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def transformed(
        self, scale: float, rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]
    ) -> Gaussians:
        """The Gaussians in other coordinates x' = scale * rotation @ x + translation: their places, sizes and axes, and
        the directions that their colours depend on. `rotation` has determinant 1."""
        rotation = np.asarray(rotation, np.float64)
        means = scale * (self.means.astype(np.float64) @ rotation.T) + translation
        moved = replace(
            self,
            means=means.astype(np.float32),
            log_scales=(self.log_scales + np.log(scale)).astype(np.float32),
        )
        if np.array_equal(rotation, np.eye(3)):
            return moved
        matrix = rotation_matrix(rotation, self.sh_degree).astype(np.float32)
        return replace(moved, quaternions=_turned(self.quaternions, rotation), sh=np.matmul(matrix, self.sh))


def _turned(
    quaternions: Float32[np.ndarray, "n 4"], rotation: Float64[np.ndarray, "3 3"]
) -> Float32[np.ndarray, "n 4"]:
    """The product of the rotation's quaternion and each of these, lengths kept."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    left = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    return (quaternions @ left.T).astype(np.float32)
