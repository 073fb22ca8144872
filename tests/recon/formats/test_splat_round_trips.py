"""Splats through each format and back: as near as the format's bits allow."""

from dataclasses import replace

import numpy as np
import pytest
from splats_by_hand import component_errors, matched, sample

from recon.formats import splat_spz
from recon.formats.splat_frames import Y_DOWN
from recon.formats.splat_palette import codebook, palette
from recon.formats.splats import is_splats, read_splats, write_splats
from recon.gaussians.harmonics import DC
from recon.gaussians.model import Gaussians
from recon.scene import Frame, Scene

ALL = (".ply", ".compressed.ply", ".splat", ".spz", ".sog", ".glb")
ROUNDING = 1e-6  # float32, on top of a format's own step


def through(gaussians: Gaussians, path, frame: Frame | None = None) -> Gaussians:
    write_splats(Scene(gaussians=gaussians, frame=frame or Frame(up=Y_DOWN)), path)
    assert is_splats(path)
    return read_splats(path).gaussians


def worst(found, expected) -> float:
    return float(np.abs(np.asarray(found, np.float64) - expected).max(initial=0))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_ply_keeps_every_bit(tmp_path, degree):
    given = replace(sample(degree=degree), antialiased=degree == 1)
    found = through(given, tmp_path / "a.ply")
    for name in ("means", "log_scales", "quaternions", "opacity_logits", "sh"):
        assert np.array_equal(getattr(found, name), getattr(given, name)), name
    assert found.antialiased == given.antialiased


def test_glb_keeps_all_but_the_length_of_quaternions(tmp_path):
    given = sample()
    found = through(given, tmp_path / "a.glb")
    assert np.array_equal(found.means, given.means) and np.array_equal(found.sh, given.sh)
    assert worst(found.log_scales, given.log_scales) < 8 * ROUNDING
    assert worst(found.opacities, given.opacities) < ROUNDING
    assert component_errors(found.quaternions, given.quaternions).max() < ROUNDING


def test_compressed_ply_keeps_what_its_bits_hold(tmp_path):
    given = sample(256)  # one chunk: its ends are those of all
    found = matched(through(given, tmp_path / "a.compressed.ply"), given)
    steps = np.array([2047, 1023, 2047])
    for name in ("means", "log_scales"):
        values = getattr(given, name)
        assert (np.abs(getattr(found, name) - values) <= np.ptp(values, axis=0) / steps / 2 + 8 * ROUNDING).all(), name
    assert (np.abs(found.sh[:, 0] - given.sh[:, 0]) <= np.ptp(given.sh[:, 0], axis=0) / 255 / 2 + ROUNDING).all()
    assert worst(found.opacities, given.opacities) <= 0.5 / 255 + ROUNDING
    assert worst(found.sh[:, 1:], given.sh[:, 1:]) <= 8 / 256 / 2 + ROUNDING
    errors = np.sort(component_errors(found.quaternions, given.quaternions), axis=1)
    assert errors[:, :3].max() <= np.sqrt(2) / 1023 / 2 + ROUNDING  # the fourth, the largest, follows from them


def test_chunks_of_compressed_ply_each_have_their_ends(tmp_path):
    rng = np.random.default_rng(1)
    near = replace(sample(256), means=rng.uniform(0, 1, (256, 3)).astype(np.float32))
    far = replace(near, means=near.means + np.float32(1000))
    both = Gaussians(*(np.concatenate([getattr(g, f) for g in (near, far)]) for f in list(vars(near))[:5]))
    found = matched(through(both, tmp_path / "a.compressed.ply"), both)
    assert worst(found.means, both.means) <= 1 / 1023 / 2 + 1e-4  # 1e-4: float32 at 1000


def test_dot_splat_keeps_bytes_of_colour_opacity_and_rotation(tmp_path):
    given = sample()
    found = matched(through(given, tmp_path / "a.splat"), given)
    assert np.array_equal(found.means, given.means)
    assert worst(found.log_scales, given.log_scales) < 8 * ROUNDING
    assert worst(found.opacities, given.opacities) <= 0.5 / 255 + ROUNDING
    assert worst(DC * found.sh[:, 0], DC * given.sh[:, 0]) <= 0.5 / 255 + ROUNDING
    assert found.sh.shape[1] == 1
    step = 1 / 128  # half a step of rounding, but a whole one where 1 would need the byte 256
    assert component_errors(found.quaternions, given.quaternions).max() <= 2 * step


def test_dot_splat_begins_with_the_largest_and_most_opaque(tmp_path):
    found = through(sample(), tmp_path / "a.splat")
    weight = found.log_scales.sum(axis=1) + np.log(found.opacities)
    assert (np.diff(weight) < 0.5 / 255 / found.opacities.min()).all()  # but for the rounding of the opacity


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spz_keeps_what_its_bits_hold(tmp_path, version, degree):
    given = replace(sample(degree=degree), antialiased=degree == 2)
    path = tmp_path / "a.spz"
    splat_spz.write(Scene(gaussians=given, frame=Frame(up=Y_DOWN)), path, version)
    found = read_splats(path).gaussians
    assert worst(found.means, given.means) <= 2.0**-12 / 2  # at least as fine as the usual 12 bits
    assert worst(found.log_scales, given.log_scales) <= 1 / 32 + ROUNDING
    assert worst(found.opacities, given.opacities) <= 0.5 / 255 + ROUNDING
    assert worst(found.sh[:, 0], given.sh[:, 0]) <= 0.5 / 255 / 0.15 + ROUNDING
    assert worst(found.sh[:, 1:4], given.sh[:, 1:4]) <= 1 / 32 + ROUNDING  # 5 bits over [-1, 1]
    assert worst(found.sh[:, 4:], given.sh[:, 4:]) <= 1 / 16 + ROUNDING  # 4 bits
    errors = np.sort(component_errors(found.quaternions, given.quaternions), axis=1)
    step = np.sqrt(0.5) / 511 if version > 2 else 1 / 127.5
    assert errors[:, :3].max() <= step / 2 + ROUNDING or version == 2
    assert np.sort(errors, axis=1)[:, 0].max() <= step / 2 + ROUNDING
    assert found.antialiased == given.antialiased


@pytest.mark.parametrize(("reach", "step"), [(0.5, 2.0**-20), (100, 2.0**-16), (3000, 2.0**-11), (2e6, 0.5)])
def test_spz_spends_its_24_bits_on_the_reach_of_the_scene(tmp_path, reach, step):
    given = sample(50)
    given = replace(given, means=(given.means / 3 * reach).astype(np.float32))
    found = through(given, tmp_path / "a.spz")
    assert worst(found.means, given.means) <= step / 2


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_sog_keeps_what_its_bits_hold(tmp_path, degree):
    given = replace(sample(400, degree), antialiased=degree == 1)
    found = matched(through(given, tmp_path / "a.sog"), given)
    logs = [np.sign(m) * np.log1p(np.abs(m.astype(np.float64))) for m in (found.means, given.means)]
    assert (np.abs(logs[0] - logs[1]) <= np.ptp(logs[1], axis=0) / 65535 / 2 + ROUNDING).all()
    assert worst(found.opacities, given.opacities) <= 0.5 / 255 + ROUNDING
    errors = np.sort(component_errors(found.quaternions, given.quaternions), axis=1)
    assert errors[:, :3].max() <= np.sqrt(2) / 255 / 2 + ROUNDING
    # 128 even steps over the range, of the 256 that a codebook has, would do as well as this
    for a, b in (
        (found.log_scales, given.log_scales),
        (found.sh[:, 0], given.sh[:, 0]),
        (found.sh[:, 1:], given.sh[:, 1:]),
    ):
        assert b.size == 0 or np.sqrt(np.mean((a - b) ** 2)) <= np.ptp(b) / 127 / np.sqrt(12)
    assert found.sh.shape == given.sh.shape and found.antialiased == given.antialiased


def test_sog_as_a_folder(tmp_path):
    given = sample()
    path = tmp_path / "scene" / "meta.json"
    as_file, as_folder = through(given, tmp_path / "a.sog"), through(given, path)
    assert is_splats(path.parent)
    for found in (as_folder, read_splats(path.parent).gaussians):
        assert np.array_equal(found.means, as_file.means) and np.array_equal(found.sh, as_file.sh)


def test_a_codebook_is_near_all_numbers_and_exact_for_few():
    few = np.random.default_rng(0).choice(np.array([-2.5, 0.25, 7.0, 100.0], np.float32), (50, 3))
    centers, codes = codebook(few)
    assert np.array_equal(centers[codes].astype(np.float32), few)
    normal = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
    centers, codes = codebook(normal)
    assert np.array_equal(codes, np.abs(normal[:, None] - centers).argmin(axis=1))
    optimum = np.sqrt(np.pi * np.sqrt(3) / 2) / 256  # Panter and Dite: the best 256 levels for a normal distribution
    assert np.sqrt(np.mean((centers[codes] - normal) ** 2)) <= 1.25 * optimum


def test_a_palette_finds_the_rows_that_there_are():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(300, 45)).astype(np.float32)
    samples = kinds[rng.integers(0, 300, 20_000)] + rng.normal(scale=0.01, size=(20_000, 45)).astype(np.float32)
    rows, labels = palette(samples, 4096, rng)
    assert len(rows) <= 4096
    assert np.sqrt(np.mean((rows[labels] - samples) ** 2)) <= 0.0105
    nothing_else = palette(samples[:100], 4096, rng)
    assert np.array_equal(nothing_else[0][nothing_else[1]], samples[:100])


@pytest.mark.parametrize("suffix", ALL)
def test_a_single_gaussian_and_many_at_one_place(tmp_path, suffix):
    for count in (1, 600):
        one = sample(1)
        same = Gaussians(*(np.repeat(getattr(one, name), count, axis=0) for name in list(vars(one))[:5]))
        found = through(same, tmp_path / f"a{suffix}")
        assert len(found) == count
        assert all(getattr(found, name).dtype == np.float32 for name in list(vars(one))[:5])
        assert worst(found.means, same.means) < 1e-3


@pytest.mark.parametrize("suffix", ALL)
def test_opacities_of_0_and_1_come_back_finite(tmp_path, suffix):
    given = replace(sample(4), opacity_logits=np.array([-100, 100, -np.inf, np.inf], np.float32))
    found = matched(through(given, tmp_path / f"a{suffix}"), given)
    assert np.isfinite(found.opacity_logits).all()
    assert worst(found.opacities, [0, 1, 0, 1]) < 0.5 / 255
