"""Noise, normals and outliers of clouds sampled from surfaces that are known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from recon.fields.local_fits import Sheets, fit_sheets
from recon.fields.neighbourhoods import nearest
from recon.fields.quadrics import fit_patches, principal_axes

COUNT = 6000


def angles(normals, truth):
    """Degrees between axes without sign."""
    return np.degrees(np.arccos(np.clip(np.abs((normals * truth).sum(1)), 0, 1)))


def rms(values):
    return float(np.sqrt((values**2).mean()))


def sphere(rng, count=COUNT, noise=0.0):
    """A unit sphere, and its normals at the samples."""
    normals = rng.standard_normal((count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals * (1 + noise * rng.standard_normal((count, 1))), normals


def ripples(rng, length, count=COUNT, noise=0.0):
    """A unit square with waves of slope up to 1 across x, (x, y, z) and the height at any x."""

    def height(x):
        return length / (2 * np.pi) * np.sin(2 * np.pi * x / length)

    points = np.c_[rng.random((count, 2)), np.zeros(count)]
    points[:, 2] = height(points[:, 0])
    slope = np.cos(2 * np.pi * points[:, 0] / length)
    normals = np.c_[-slope, np.zeros(count), np.ones(count)] / np.sqrt(1 + slope**2)[:, None]
    return points + noise * rng.standard_normal((count, 1)) * normals, normals, height


def planes(rng, gap, count=3000):
    """Two unit squares `gap` spacings apart, each sampled on a jittered lattice."""
    side = round(count**0.5)
    sheets = []
    for z in (0.0, gap / side):
        corners = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
        sheets.append(np.c_[(corners + rng.random(corners.shape)) / side, np.full(len(corners), z)])
    return np.vstack(sheets)


def test_an_exact_cloud_stays_where_it_is():
    points, normals = sphere(np.random.default_rng(0))
    sheets = fit_sheets(points)
    assert sheets.noise == 0
    assert np.array_equal(sheets.kept, np.arange(COUNT))
    assert np.array_equal(sheets.points, points)
    assert rms(angles(sheets.normals, normals)) < 0.5
    assert np.median(sheets.spacing) == pytest.approx(np.sqrt(4 * np.pi / COUNT), rel=0.05)


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_the_noise_of_a_sphere_is_measured_and_taken_away(noise):
    points, normals = sphere(np.random.default_rng(1), noise=noise)
    sheets = fit_sheets(points)
    radii = np.linalg.norm(sheets.points, axis=1)
    assert sheets.noise == pytest.approx(noise, rel=0.08)
    assert rms(radii - 1) < 0.37 * noise  # 7 neighbours' mean would have 0.38
    assert abs(radii.mean() - 1) < 0.1 * noise
    assert rms(angles(sheets.normals, normals[sheets.kept])) < 1 + 250 * noise


def test_noise_that_differs_from_place_to_place():
    rng = np.random.default_rng(2)
    points, normals = sphere(rng)
    noise = np.where(normals[:, :1] > 0, 0.03, 0.008)
    sheets = fit_sheets(points + noise * rng.standard_normal((COUNT, 1)) * normals)
    off = np.linalg.norm(sheets.points, axis=1) - 1
    loud = normals[sheets.kept, 0] > 0
    assert rms(off[loud]) < 0.37 * 0.03
    assert rms(off[~loud]) < 0.45 * 0.008


def test_the_size_of_patches_follows_the_detail():
    """One size for all is worse: a small one on smooth ground, a large one on waves."""
    for length, size in ((4.0, 40), (0.15, 180)):
        points, _, height = ripples(np.random.default_rng(3), length, noise=0.005)
        sheets = fit_sheets(points)
        adaptive = rms(sheets.points[:, 2] - height(sheets.points[:, 0]))
        fixed = one_size(points, size)
        assert adaptive < 0.85 * rms(fixed[:, 2] - height(fixed[:, 0]))


def one_size(points, size):
    """The points on patches of one size."""
    neighbours = nearest(points, size)
    sizes = np.full(len(points), size)
    axes = principal_axes(points, neighbours, sizes)
    patches, _, _ = fit_patches(points, axes, neighbours, sizes[:, None], 2)
    return points + patches[:, 0, :1] * axes


def test_a_patch_next_to_another_sheet_keeps_to_its_own():
    """Without reweighting it leans towards the other."""
    rng = np.random.default_rng(4)
    flat = np.c_[rng.random((4000, 2)), 0.002 * rng.standard_normal(4000)]
    wall = np.c_[np.full(1500, 0.5), rng.random((1500, 2)) * [1, 0.4]]
    points = np.vstack([flat, wall])
    near = np.flatnonzero((np.abs(flat[:, 0] - 0.5) < 0.04) & (np.abs(flat[:, 1] - 0.5) < 0.4))
    neighbours = nearest(points, 40)
    axes = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    sizes = np.full((len(points), 1), 40)
    plain, robust = (
        np.abs(fit_patches(points, axes, neighbours, sizes, k)[0][near, 0, 0] + flat[near, 2]) for k in (1, 4)
    )
    assert np.median(robust) < 0.002
    assert np.median(robust) < 0.5 * np.median(plain)


@pytest.mark.parametrize("gap", [1.0, 1.5, 2.0])
def test_sheets_a_spacing_apart_are_no_noise(gap):
    points = planes(np.random.default_rng(5), gap)
    sheets = fit_sheets(points)
    assert sheets.noise == 0
    assert len(sheets.kept) > 0.99 * len(points)
    assert np.quantile(angles(sheets.normals, [0.0, 0.0, 1.0]), 0.95) < 1


def test_density_varying_twenty_to_one():
    rng = np.random.default_rng(6)
    points, normals = sphere(rng, 20_000)
    some = (points[:, 2] > 0) | (rng.random(len(points)) < 1 / 20)
    sheets = fit_sheets(points[some])
    assert len(sheets.kept) == some.sum()
    assert rms(angles(sheets.normals, normals[some])) < 1
    noisy = fit_sheets((points + 0.005 * rng.standard_normal((len(points), 1)) * normals)[some])
    assert rms(np.linalg.norm(noisy.points, axis=1) - 1) < 0.5 * 0.005


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_outliers_are_dropped_and_told(noise):
    rng = np.random.default_rng(7)
    points, _ = sphere(rng, noise=noise)
    outliers = rng.uniform(-1, 1, (COUNT // 20, 3))
    sheets = fit_sheets(np.vstack([points, outliers]))
    assert (sheets.kept < COUNT).sum() > 0.998 * COUNT
    off = np.abs(np.linalg.norm(sheets.points, axis=1) - 1)
    assert (off > np.median(sheets.spacing)).sum() < 0.05 * len(outliers)
    assert sheets.noise == pytest.approx(noise, rel=0.08)


def test_normals_where_outliers_stood_beside_are_as_good_as_without_them():
    rng = np.random.default_rng(12)
    points, normals = sphere(rng)
    outliers = 1.06 * sphere(rng, COUNT // 20)[0]
    alone, beside = fit_sheets(points), fit_sheets(np.vstack([points, outliers]))
    of_sphere = beside.kept < COUNT
    assert of_sphere.sum() > 0.998 * COUNT
    off = angles(beside.normals[of_sphere], normals[beside.kept[of_sphere]])
    assert rms(off) < 1.25 * rms(angles(alone.normals, normals[alone.kept]))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_plane_goes_on_where_its_sheet_has_ended(noise):
    """Outliers 15 spacings beyond the sides of a square lie in the planes of all their neighbours, and six in company
    far above it have neighbours of their own."""
    rng = np.random.default_rng(11)
    square = np.c_[rng.random((COUNT, 2)), noise * rng.standard_normal(COUNT)]
    beyond = [[-0.2, 0.5, 0], [1.2, 0.5, 0], [0.5, -0.2, 0], [0.5, 1.2, 0]]
    company = [0.5, 0.5, 0.6] + 0.02 * rng.standard_normal((6, 3))
    sheets = fit_sheets(np.vstack([square, beyond, company]))
    assert sheets.kept.max() < COUNT
    assert len(sheets.kept) > 0.998 * COUNT


def test_moving_the_cloud_moves_the_sheets():
    rng = np.random.default_rng(8)
    points, _ = sphere(rng, 2000, noise=0.02)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    order = rng.permutation(len(points))
    original = fit_sheets(points)
    assert len(original.kept) == len(points)
    for scale, offset in ((1e-3, 0.0), (1e4, 0.0), (1.0, 5e5)):
        moved = fit_sheets((scale * points @ rotation.T + offset)[order])
        back = (moved.points - offset) @ rotation / scale
        tolerance = 1e-3 * np.median(original.spacing)
        np.testing.assert_allclose(back, original.points[order[moved.kept]], atol=tolerance)
        assert angles(moved.normals @ rotation, original.normals[order[moved.kept]]).max() < 0.1
        assert moved.noise == pytest.approx(scale * original.noise, rel=1e-3)


def sane(sheets: Sheets, count: int) -> None:
    assert len(sheets.points) == len(sheets.normals) == len(sheets.spacing) == len(sheets.kept) == count
    assert np.isfinite(sheets.points).all()
    assert np.isfinite(sheets.noise)
    np.testing.assert_allclose(np.linalg.norm(sheets.normals, axis=1), 1)
    assert (sheets.spacing > 0).all()


def test_few_flat_and_repeated_points():
    rng = np.random.default_rng(9)
    sane(fit_sheets(sphere(rng, 50)[0]), 50)
    sane(fit_sheets(np.eye(3)), 3)
    flat = np.c_[rng.random((300, 2)), np.zeros(300)]
    sheets = fit_sheets(flat)
    sane(sheets, 300)
    assert angles(sheets.normals, [0.0, 0.0, 1.0]).max() < 1e-3
    sane(fit_sheets(np.repeat(sphere(rng, 400)[0], 3, axis=0)), 400)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.zeros((2, 3)), "at least 3 points"),
        (np.ones((20, 3)), "all points coincide"),
        (np.linspace(0, 1, 100)[:, None] * [1.0, 2.0, 3.0], "on one line"),
        (np.array([[0.0, 0, 0], [1, 0, 0], [np.nan, 1, 0]]), "not finite"),
    ],
)
def test_no_surface_is_a_sentence(points, said):
    with pytest.raises(ValueError, match=said):
        fit_sheets(points)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("gap", [1.0, 1.5])
def test_sheets_side_by_side_have_their_own_normals(gap, seed):
    rng = np.random.default_rng(seed)
    points = np.c_[rng.random((COUNT, 2)), gap * np.sqrt(2 / COUNT) * rng.integers(2, size=COUNT)]
    sheets = fit_sheets(points)
    assert sheets.noise == 0
    assert len(sheets.kept) > 0.99 * COUNT
    off = angles(sheets.normals, [[0, 0, 1]])
    assert (off > 20).mean() < 0.001
    assert np.median(off) < 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_curved_sheets_side_by_side_have_their_own_normals(seed):
    """Of 12 and 13 spacings' radius."""
    rng = np.random.default_rng(seed)
    points, normals = sphere(rng, round(4 * np.pi * (12**2 + 13**2)))
    points[rng.random(len(points)) < 12**2 / (12**2 + 13**2)] *= 12 / 13
    sheets = fit_sheets(points)
    off = angles(sheets.normals, normals[sheets.kept])
    assert off.max() < 40
    assert np.median(off) < 1
