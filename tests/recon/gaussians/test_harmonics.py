"""Spherical harmonics: the basis against its definition, rotation against turning the function itself."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from recon.gaussians.harmonics import basis, rotation_matrix
from recon.gaussians.model import Gaussians


def directions(count: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_basis_is_the_real_harmonics_with_the_condon_shortley_phase():
    d = directions(50)
    theta, phi = np.arccos(d[:, 2]), np.arctan2(d[:, 1], d[:, 0])
    expected = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            complex_value = sph_harm_y(degree, abs(order), theta, phi)
            part = complex_value.imag if order < 0 else complex_value.real
            expected.append(part * (1 if order == 0 else np.sqrt(2)))
    assert np.allclose(basis(d, 3), np.stack(expected, axis=1), atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rotated_coefficients_give_the_rotated_function(degree):
    rotation = Rotation.random(random_state=degree).as_matrix()
    coefficients = np.random.default_rng(degree).normal(size=(degree + 1) ** 2)
    d = directions(100, seed=1)
    turned = basis(d, degree) @ (rotation_matrix(rotation, degree) @ coefficients)
    assert np.allclose(turned, basis(d @ rotation, degree) @ coefficients, atol=1e-12)  # f(R^T d)


def test_half_a_turn_about_x_only_changes_signs():
    matrix = rotation_matrix(np.diag([1.0, -1.0, -1.0]), 3)
    signs = [1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1]  # as between the axes of PLY and of SPZ
    assert np.allclose(matrix, np.diag(signs), atol=1e-12)


def scattered(count: int, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    return Gaussians(
        means=rng.normal(size=(count, 3)).astype(np.float32),
        log_scales=rng.uniform(-4, -1, (count, 3)).astype(np.float32),
        quaternions=rng.normal(size=(count, 4)).astype(np.float32),
        opacity_logits=rng.normal(size=count).astype(np.float32),
        sh=rng.normal(size=(count, 16, 3)).astype(np.float32),
    )


def covariances(gaussians: Gaussians) -> np.ndarray:
    axes = Rotation.from_quat(np.roll(gaussians.quaternions, -1, axis=1)).as_matrix()
    return np.einsum("nij,nj,nkj->nik", axes, np.exp(2.0 * gaussians.log_scales), axes)


def test_transformed_gaussians_have_the_transformed_shape_and_look_the_same_from_the_transformed_side():
    gaussians = scattered(40)
    scale, rotation, translation = 2.5, Rotation.random(random_state=7).as_matrix(), np.array([3.0, -1.0, 0.5])
    moved = gaussians.transformed(scale, rotation, translation)
    assert np.allclose(moved.means, scale * gaussians.means @ rotation.T + translation, atol=1e-5)
    expected = scale**2 * rotation @ covariances(gaussians) @ rotation.T
    assert np.allclose(covariances(moved), expected, atol=1e-5)
    d = directions(40)
    before = np.einsum("nk,nkc->nc", basis(d, 3), gaussians.sh)
    after = np.einsum("nk,nkc->nc", basis(d @ rotation.T, 3), moved.sh)
    assert np.allclose(before, after, atol=1e-5)
    assert np.array_equal(moved.opacity_logits, gaussians.opacity_logits)


def test_there_and_back_is_where_it_began():
    gaussians, rotation = scattered(20), Rotation.random(random_state=3).as_matrix()
    moved = gaussians.transformed(3.0, rotation, np.array([1.0, 2.0, 3.0]))
    back = moved.transformed(1 / 3.0, rotation.T, -rotation.T @ [1.0, 2.0, 3.0] / 3)
    for name in ("means", "log_scales", "quaternions", "sh"):
        assert np.allclose(getattr(back, name), getattr(gaussians, name), atol=2e-5)


def test_the_normal_is_the_direction_of_least_spread():
    gaussians = scattered(60)
    normals = gaussians.normals
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    spread = np.einsum("ni,nij,nj->n", normals, covariances(gaussians), normals)
    assert np.allclose(spread, np.linalg.eigvalsh(covariances(gaussians))[:, 0], rtol=1e-3)
