"""Real spherical harmonics up to degree 3: the basis that splats have their colours in, and its rotation.

The basis Y of 3D Gaussian Splatting, in the order DC | -y, z, -x | xy, -yz, z^2, -xz, x^2 - y^2 | ..., each function
orthonormal on the sphere. A function f(d) = Y(d) c turned by R is f(R^T d). Each degree is closed under rotations, so
there is a matrix M with Y(R^T d) c = Y(d) M c for all d, one block for each degree.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from render.harmonics import DC, harmonics

__all__ = ["DC", "basis", "rotation_matrix"]


def basis(directions: Float[np.ndarray, "n 3"], degree: int) -> Float64[np.ndarray, "n k"]:
    """The k = (degree + 1)^2 functions at these unit vectors."""
    x, y, z = np.asarray(directions, np.float64).T
    return np.stack(harmonics(x, y, z, degree), axis=1)


def rotation_matrix(rotation: Float[np.ndarray, "3 3"], degree: int) -> Float64[np.ndarray, "k k"]:
    """M: the coefficients of a function turned by `rotation` are M times its own.

    Solved from Y(d) M = Y(R^T d) at directions spread over the sphere, degree by degree.
    """
    directions = _spread(64)
    here, there = basis(directions, degree), basis(directions @ rotation, degree)
    matrix = np.zeros((here.shape[1], here.shape[1]))
    for band in range(degree + 1):
        block = slice(band**2, (band + 1) ** 2)
        matrix[block, block] = np.linalg.lstsq(here[:, block], there[:, block], rcond=None)[0]
    matrix[np.abs(matrix) < 1e-14] = 0
    return matrix


def _spread(count: int) -> Float64[np.ndarray, "n 3"]:
    """Unit vectors along a spiral from pole to pole, evenly dense."""
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    return np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], axis=1)
