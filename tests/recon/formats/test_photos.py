"""Folders of photos: what is found in them, which way up, and what EXIF says of the shots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon.errors import UserError
from recon.formats import format_of, phone_images, read
from recon.formats.exif import shot_facts
from recon.formats.options import PhotoOptions
from recon.formats.photos import are_numbered

EXIF, GPS = 0x8769, 0x8825


def halves(width: int = 60, height: int = 40) -> Image.Image:
    """Red above, blue below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, :, 0] = 255
    pixels[height // 2 :, :, 2] = 255
    return Image.fromarray(pixels)


def exif_of(orientation: int = 1, **shot) -> Image.Exif:
    """EXIF of a phone in Zurich; `shot` are tags of its EXIF directory by their hexadecimal number."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110] = orientation, "Maker", "Phone 3"
    exif.get_ifd(EXIF).update({int(tag[1:], 16): value for tag, value in shot.items()})
    gps = {1: "N", 2: (47.0, 22.0, 12.0), 3: "W", 4: (8.0, 32.0, 24.0), 5: b"\x00", 6: 408.5}
    exif.get_ifd(GPS).update(gps)
    return exif


def two(folder: Path, image: Image.Image, suffix: str = ".jpg", **options) -> Path:
    """The picture twice in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        image.save(folder / f"{name}{suffix}", **options)
    return folder


def test_a_folder_of_jpegs_is_photos(tmp_path):
    two(tmp_path, halves(), ".JPG")
    assert format_of(tmp_path).name == "photos"
    photos = read(tmp_path, PhotoOptions())
    assert [photo.name for photo in photos.photos] == ["a.JPG", "b.JPG"] and not photos.ordered
    assert photos.photos[0].focal is None and photos.photos[0].position is None and photos.photos[0].mask is None


def test_exif_turns_pictures_upright_and_tells_the_shot(tmp_path):
    upright = halves(40, 60)
    stored = upright.transpose(Image.Transpose.ROTATE_90)  # 6: to be turned clockwise for showing
    exif = exif_of(6, xA405=26, x920A=4.2)
    photo = read(two(tmp_path, stored, exif=exif, quality=95), PhotoOptions()).photos[0]
    assert (photo.width, photo.height) == (40, 60)
    pixels = photo.image()
    assert pixels.shape == (60, 40, 3) and pixels[5, 20, 0] > 200 and pixels[55, 20, 2] > 200
    assert photo.focal == pytest.approx(26 / np.hypot(36, 24) * np.hypot(40, 60))
    assert photo.position == pytest.approx((-(8 + 32 / 60 + 24 / 3600), 47 + 22 / 60 + 12 / 3600, 408.5))
    assert photo.model == "Maker, Phone 3, 4.2 mm"


def test_the_focal_length_by_the_sensor(tmp_path):
    """Canon's way: 5000 pixels an inch, of a picture that was stored with 5080 pixels: 50.8 mm are 10,000 of them."""
    exif = exif_of(x920A=50.8, xA20E=5000.0, xA210=2, xA002=5080, xA003=3386)
    assert shot_facts(exif, 508, 339).focal == pytest.approx(1000.0)


def test_exif_of_tiff_files_and_of_raw_ones(tmp_path):
    """Its directories lie anywhere in the file: they are read while it is open."""
    exif = Image.Exif()
    exif.load(exif_of(xA405=26).tobytes())
    folder = two(tmp_path / "images", halves(), ".tif", exif=exif)
    photo = read(tmp_path, PhotoOptions()).photos[0]
    focal = 26 / np.hypot(36, 24) * np.hypot(60, 40)
    assert photo.focal == pytest.approx(focal) and photo.position is not None and photo.model == "Maker, Phone 3"
    for mark in (b"II", b"MM"):
        image, exif = halves(), exif_of(xA405=26)
        exif.endian = "<" if mark == b"II" else ">"
        (folder / "c.dng").write_bytes(exif.tobytes()[6:])
        assert (folder / "c.dng").read_bytes()[:2] == mark
        assert phone_images._facts_of_raw(folder / "c.dng", *image.size).focal == pytest.approx(focal)


def test_tags_that_make_no_sense_are_as_if_not_there():
    exif = exif_of(xA405=0, x920A=float("nan"))
    exif.get_ifd(GPS).update({2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)})
    facts = shot_facts(exif, 100, 100)
    assert facts.focal is None and facts.position is None
    assert shot_facts(exif_of(xA405=9000), 100, 100).focal is None


def test_large_photos_are_reduced_with_their_focal_length(tmp_path):
    photos = read(two(tmp_path, halves(600, 400), exif=exif_of(xA405=36)), PhotoOptions(max_size=150))
    photo = photos.photos[0]
    assert photo.image().shape == (photo.height, photo.width, 3) == (100, 150, 3)
    assert photo.focal == pytest.approx(36 / np.hypot(36, 24) * np.hypot(150, 100))
    assert "2 photos are reduced to 150 pixels" in photos.notes[0]


@pytest.mark.parametrize("named", ["a.jpg.png", "a.png"])
@pytest.mark.parametrize("inside", [True, False])
def test_masks(tmp_path, named, inside):
    two(tmp_path / "images", halves())
    masks = (tmp_path / "images" if inside else tmp_path) / "masks"
    masks.mkdir()
    white = np.zeros((80, 120), np.uint8)  # twice the photo's size
    white[:, :60] = 255
    Image.fromarray(white).save(masks / named)
    first, second = read(tmp_path, PhotoOptions()).photos
    assert first.name == "images/a.jpg" and second.mask is None
    assert first.mask is not None
    mask = first.mask()
    assert mask.shape == (40, 60) and mask[:, :29].all() and not mask[:, 31:].any()


def test_a_mask_of_another_shape_is_refused(tmp_path):
    two(tmp_path / "images", halves())
    (tmp_path / "masks").mkdir()
    Image.new("L", (40, 60)).save(tmp_path / "masks" / "a.png")
    mask = read(tmp_path, PhotoOptions()).photos[0].mask
    with pytest.raises(UserError, match="a.png: has 40 x 60 pixels, its photo 60 x 40"):
        mask()


def test_alpha_is_a_mask(tmp_path):
    image = halves().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 30, 40))
    two(tmp_path / "images", image, ".png")
    photo = read(tmp_path, PhotoOptions()).photos[0]
    assert photo.image().shape == (40, 60, 4)
    assert photo.mask is not None and not photo.mask()[:, :30].any() and photo.mask()[:, 30:].all()


def test_heic_of_a_phone(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    exif = exif_of(xA405=26, x920A=4.2)
    for name in ("a.heic", "b.HEIC"):
        heif.from_pillow(halves(64, 48)).save(tmp_path / name, exif=exif.tobytes(), quality=90)
    photo = read(tmp_path, PhotoOptions()).photos[0]
    assert (photo.width, photo.height) == (64, 48) and photo.model == "Maker, Phone 3, 4.2 mm"
    assert photo.focal == pytest.approx(26 / np.hypot(36, 24) * 80) and photo.position is not None
    assert photo.image()[5, 30, 0] > 180 and photo.image()[43, 30, 2] > 180


def test_a_damaged_heic_is_one_sentence(tmp_path):
    pytest.importorskip("pillow_heif")
    for name in ("a.heic", "b.heic"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(UserError, match="a.heic: "):
        read(tmp_path, PhotoOptions())


def test_raw_that_is_none_is_one_sentence(tmp_path):
    pytest.importorskip("rawpy")
    for name in ("a.dng", "b.dng"):
        (tmp_path / name).write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(UserError, match="a.dng: is no raw picture"):
        read(tmp_path, PhotoOptions())


def test_one_photo_is_not_enough(tmp_path):
    halves().save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="holds one photo"):
        read(tmp_path, PhotoOptions())
    with pytest.raises(UserError, match="one photo shows no depth"):
        read(tmp_path / "a.jpg", PhotoOptions())


@pytest.mark.parametrize(
    ("stems", "ordered"),
    [
        (["IMG_0007", "IMG_0008", "IMG_0010"], True),
        (["IMG_0007", "IMG_0400", "IMG_0900"], False),
        (["front", "left", "right"], False),
        (["a1", "b2", "c3"], False),
    ],
)
def test_numbered_shots_are_ordered(stems, ordered):
    assert are_numbered(stems) is ordered
