"""Lenses against pycolmap's, and the pinhole pictures made of theirs against pictures of known colours."""

from __future__ import annotations

import numpy as np
import pytest

from recon.distortion import Lens, pinhole, resample, straightened
from recon.formats.colmap_model import lens_of

SIZE = (640, 480)
CAMERAS = {
    "SIMPLE_PINHOLE": (500, 322, 236),
    "PINHOLE": (500, 510, 322, 236),
    "SIMPLE_RADIAL": (500, 322, 236, -0.12),
    "RADIAL": (500, 322, 236, -0.2, 0.05),
    "OPENCV": (500, 510, 322, 236, -0.2, 0.06, 0.004, -0.003),
    "OPENCV_FISHEYE": (300, 305, 322, 236, 0.03, -0.01, 0.004, -0.001),
    "FULL_OPENCV": (500, 510, 322, 236, 0.2, -0.06, 0.002, -0.001, 0.01, 0.3, 0.02, 0.003),
    "FOV": (400, 410, 322, 236, 0.8),
    "SIMPLE_RADIAL_FISHEYE": (300, 322, 236, 0.02),
    "RADIAL_FISHEYE": (300, 322, 236, 0.02, -0.01),
    "THIN_PRISM_FISHEYE": (300, 305, 322, 236, 0.03, -0.01, 0.002, -0.001, 0.004, -0.001, 0.003, -0.002),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        *(300, 305, 322, 236, 0.03, -0.01, 0.004, -0.001, 0.0005, -0.0001),
        *(0.002, -0.001, 0.003, -0.002, 0.001, 0.0005),
    ),
    "SIMPLE_DIVISION": (500, 322, 236, -0.1),
    "DIVISION": (500, 510, 322, 236, -0.1),
    "SIMPLE_FISHEYE": (300, 322, 236),
    "FISHEYE": (300, 305, 322, 236),
    "EUCM": (300, 305, 322, 236, 0.6, 1.1),
}
BENDING = [name for name in CAMERAS if "PINHOLE" not in name]


def ours(model: str) -> Lens:
    lens = lens_of(model, *SIZE, tuple(map(float, CAMERAS[model])))
    assert lens is not None
    return lens


def colmaps(model: str):
    pycolmap = pytest.importorskip("pycolmap")
    return pycolmap.Camera(model=model, width=SIZE[0], height=SIZE[1], params=CAMERAS[model])


def color_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth colour for each direction (x, y, 1)."""
    waves = [np.sin(4 * x + 1) * np.cos(3 * y), np.cos(5 * y - x), np.sin(3 * (x + y))]
    return np.stack([127 + 100 * wave for wave in waves], axis=-1)


@pytest.mark.parametrize("model", CAMERAS)
def test_rays_meet_the_picture_where_colmap_says(model: str) -> None:
    rays = np.random.default_rng(0).uniform(-0.45, 0.45, (500, 2))
    expected = colmaps(model).img_from_cam(np.concatenate([rays, np.ones((500, 1))], axis=1))
    u, v = ours(model).project(rays[:, 0], rays[:, 1])
    np.testing.assert_allclose(np.stack([u, v], axis=1), expected, atol=1e-6)


def test_no_panorama_is_a_lens() -> None:
    assert lens_of("EQUIRECTANGULAR", *SIZE, SIZE) is None


@pytest.mark.parametrize("model", BENDING)
def test_every_pixel_of_the_straightened_picture_is_seen(model: str) -> None:
    lens = ours(model)
    to = straightened(lens)
    x = (np.arange(to.width) + 0.5 - to.intrinsics[0, 2]) / to.intrinsics[0, 0]
    y = (np.arange(to.height) + 0.5 - to.intrinsics[1, 2]) / to.intrinsics[1, 1]
    u, v = lens.project(*np.meshgrid(x, y))
    assert u.min() > -0.5 and v.min() > -0.5
    assert u.max() < lens.width + 0.5 and v.max() < lens.height + 0.5
    assert to.width * to.height > 0.55 * lens.width * lens.height
    back = colmaps(model).cam_from_img(np.stack([u[::40, ::40], v[::40, ::40]], axis=-1).reshape(-1, 2))
    np.testing.assert_allclose(back, np.stack(np.meshgrid(x[::40], y[::40]), axis=-1).reshape(-1, 2), atol=1e-4)


@pytest.mark.parametrize("model", ["OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE", "EUCM", "FOV", "DIVISION"])
def test_colours_stay_with_their_directions(model: str) -> None:
    lens, camera = ours(model), colmaps(model)
    u, v = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    rays = camera.cam_from_img(np.stack([u.ravel(), v.ravel()], axis=1))
    picture = color_of(*np.nan_to_num(rays).T).round().clip(0, 255).astype(np.uint8).reshape(SIZE[1], SIZE[0], 3)
    to = straightened(lens)
    straight = resample(picture, lens, to)
    x = (np.arange(to.width) + 0.5 - to.intrinsics[0, 2]) / to.intrinsics[0, 0]
    y = (np.arange(to.height) + 0.5 - to.intrinsics[1, 2]) / to.intrinsics[1, 1]
    expected = color_of(*np.meshgrid(x, y))
    assert straight.shape == (to.height, to.width, 3)
    assert np.abs(straight.astype(float) - expected)[2:-2, 2:-2].max() < 2.0


@pytest.mark.parametrize("model", ["OPENCV", "RADIAL", "FULL_OPENCV"])
def test_as_much_is_seen_as_in_colmaps_undistorted_picture_without_blank_pixels(model: str) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.UndistortCameraOptions()
    options.blank_pixels = 0.0
    expected = pycolmap.undistort_camera(options, colmaps(model))
    to = straightened(ours(model))
    assert to.width / to.intrinsics[0, 0] == pytest.approx(expected.width / expected.focal_length_x, rel=0.02)
    assert to.height / to.intrinsics[1, 1] == pytest.approx(expected.height / expected.focal_length_y, rel=0.02)


def test_a_lens_that_folds_is_cut_where_it_does() -> None:
    lens = Lens(
        *SIZE, pinhole(*SIZE, 300, 300, 320, 240).intrinsics, radial=(-0.4,)
    )  # r (1 - .4 r^2) turns at r = .913
    to = straightened(lens)
    corners = np.array([[0, 0], [to.width, 0], [0, to.height], [to.width, to.height]]) - to.intrinsics[:2, 2]
    assert np.linalg.norm(corners / to.intrinsics[[0, 1], [0, 1]], axis=1).max() <= np.sqrt(1 / 1.2) + 1e-3


def test_a_wide_fisheye_is_cut_to_what_a_pinhole_can_show() -> None:
    lens = Lens(1000, 1000, pinhole(1000, 1000, 320, 320, 500, 500).intrinsics, projection="equidistant")  # 179 degrees
    to = straightened(lens)
    assert 85 < np.degrees(2 * np.arctan(to.width / 2 / to.intrinsics[0, 0])) < 125
    assert to.width * to.height <= 1000 * 1000


def test_skew_is_taken_out() -> None:
    intrinsics = np.array([[200.0, 10.0, 50.0], [0.0, 200.0, 40.0], [0.0, 0.0, 1.0]])
    lens = Lens(100, 80, intrinsics)
    assert not lens.is_pinhole
    to = straightened(lens)
    assert to.is_pinhole
    u, _ = lens.project(np.array([0.0, 0.0]), np.array([-0.1, 0.1]))
    np.testing.assert_allclose(u, [49, 51])


def test_a_principal_point_outside_of_a_bent_picture_is_refused() -> None:
    lens = Lens(100, 80, pinhole(100, 80, 100, 100, -20, 40).intrinsics, radial=(0.1,))
    with pytest.raises(ValueError, match="forward axis"):
        straightened(lens)


def test_transparent_colours_do_not_bleed() -> None:
    picture = np.zeros((20, 20, 4), np.uint8)
    picture[:, 10:] = (200, 100, 50, 255)
    picture[:, :10, 0] = 255  # invisible red
    lens = Lens(20, 20, pinhole(20, 20, 30, 30, 10.3, 10).intrinsics, radial=(1e-6,))
    straight = resample(picture, lens, pinhole(20, 20, 30, 30, 10, 10))
    seen = straight[straight[..., 3] > 0]
    assert (np.abs(seen[:, :3].astype(int) - (200, 100, 50)) <= 1).all()
    edge = straight[10, (straight[10, :, 3] > 0) & (straight[10, :, 3] < 255), 3]
    assert len(edge) == 1 and 0.2 * 255 < edge[0] < 0.8 * 255


def test_nearest_values_are_values_of_the_picture() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (60, 80)).astype(np.uint16) * 7
    lens = Lens(80, 60, pinhole(80, 60, 70, 70, 40, 30).intrinsics, radial=(-0.1,))
    straight = resample(labels, lens, straightened(lens), nearest=True)
    assert straight.dtype == np.uint16
    assert set(np.unique(straight)) <= set(np.unique(labels))


def test_half_as_many_pixels_see_the_same() -> None:
    lens = ours("OPENCV")
    half = lens.resized(320, 240)
    u, v = lens.project(np.array([0.2]), np.array([-0.1]))
    half_u, half_v = half.project(np.array([0.2]), np.array([-0.1]))
    np.testing.assert_allclose([2 * half_u, 2 * half_v], [u, v])
