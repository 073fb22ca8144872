"""Videos that are written here: which of their frames are taken, and that these are the frames themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from recon.errors import UserError
from recon.formats import format_of, read
from recon.formats.options import PhotoOptions
from recon.formats.video import MOST, choose_frames

av = pytest.importorskip("av")

WIDTH, HEIGHT = 480, 272


def panorama() -> np.ndarray:
    """A strip of grains of several sizes, in grey."""
    random = np.random.default_rng(5)
    total = np.zeros((HEIGHT + 48, 2048))
    for size in (2, 4, 8, 16):
        total += np.kron(random.uniform(0, 60, (total.shape[0] // size, 2048 // size)), np.ones((size, size)))
    return total.clip(0, 255)


def write(path: Path, frames: list[np.ndarray], rotation: int = 0) -> None:
    """The grey frames as H.264 (MPEG-4 where that is not built in), to be shown turned counter-clockwise."""
    with av.open(str(path), "w") as container:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 8_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for pixels in frames:
            rgb = np.repeat(pixels.astype(np.uint8)[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


def pan(offsets, blurred=()) -> list[np.ndarray]:
    """Windows of the panorama; frames of these indices as a shaken camera sees them."""
    strip = panorama()
    frames = [strip[:HEIGHT, int(x) : int(x) + WIDTH] for x in offsets]
    return [gaussian_filter(f, (0.5, 4)) if i in blurred else f for i, f in enumerate(frames)]


def indices(photos) -> list[int]:
    return [int(photo.name[6:12]) for photo in photos.photos]


def test_blurred_frames_are_avoided(tmp_path):
    blurred = {i for i in range(90) if i % 3}
    write(tmp_path / "walk.mp4", pan(np.arange(90) * 7, blurred))
    assert format_of(tmp_path / "walk.mp4").name == "video"
    photos = read(tmp_path / "walk.mp4", PhotoOptions())
    chosen = indices(photos)
    assert photos.ordered and len(chosen) >= 25
    assert sum(index in blurred for index in chosen) <= 1
    assert f"{len(chosen)} of 90 frames" in photos.notes[0]


def test_a_resting_camera_gives_few_frames(tmp_path):
    offsets = np.concatenate([np.arange(30) * 12, np.full(60, 348), 348 + np.arange(30) * 12])
    write(tmp_path / "walk.mp4", pan(offsets))
    chosen = np.array(indices(read(tmp_path / "walk.mp4", PhotoOptions())))
    assert ((chosen > 31) & (chosen < 89)).sum() <= 3
    assert (chosen <= 31).sum() >= 12 and (chosen >= 89).sum() >= 12


def test_photos_are_the_frames_that_their_names_say(tmp_path):
    frames = pan(np.arange(60) * 9)
    write(tmp_path / "walk.mp4", frames)
    photos = read(tmp_path / "walk.mp4", PhotoOptions())
    for index, photo in list(zip(indices(photos), photos.photos, strict=True))[::5]:
        seen = photo.image()
        assert seen.shape == (HEIGHT, WIDTH, 3)
        errors = [np.abs(seen[..., 1] - frame).mean() for frame in frames]
        assert int(np.argmin(errors)) == index and errors[index] < 6
    reduced = read(tmp_path / "walk.mp4", PhotoOptions(max_size=120)).photos[0]
    assert reduced.image().shape == (68, 120, 3) == (reduced.height, reduced.width, 3)


def test_frames_are_decoded_once(tmp_path):
    path, frames = tmp_path / "walk.mp4", pan(np.arange(40) * 9)
    write(path, frames)
    photos = read(path, PhotoOptions())
    last = photos.photos[-1].image()
    path.unlink()
    np.testing.assert_array_equal(photos.photos[-1].image(), last)
    first = photos.photos[0].image()
    first[:] = 0  # whoever has it may write into it
    assert np.abs(photos.photos[0].image()[..., 1] - frames[indices(photos)[0]]).mean() < 6


def test_frames_that_are_gone_are_one_sentence(tmp_path):
    path = tmp_path / "walk.mp4"
    write(path, pan(np.arange(40) * 9))
    photos = read(path, PhotoOptions())
    write(path, pan(np.arange(12) * 9))
    with pytest.raises(UserError, match="walk.mp4: its frame at [0-9]+ cannot be decoded again"):
        photos.photos[0].image()


def test_a_phone_that_was_held_upright(tmp_path):
    frames = pan(np.arange(40) * 9)
    write(tmp_path / "walk.mp4", frames, rotation=-90)
    photos = read(tmp_path / "walk.mp4", PhotoOptions())
    photo, index = photos.photos[3], indices(photos)[3]
    assert (photo.width, photo.height) == (HEIGHT, WIDTH)
    assert np.abs(photo.image()[..., 1] - np.rot90(frames[index], -1)).mean() < 6


def test_a_video_without_motion_is_refused(tmp_path):
    write(tmp_path / "still.mp4", pan(np.zeros(12)))
    with pytest.raises(UserError, match="hardly moves in its 12 frames"):
        read(tmp_path / "still.mp4", PhotoOptions())


def test_what_is_no_video_is_one_sentence(tmp_path):
    (tmp_path / "a.mp4").write_bytes(bytes(500))
    with pytest.raises(UserError, match="a.mp4: is no sound video"):
        read(tmp_path / "a.mp4", PhotoOptions())


def test_no_more_frames_than_are_needed():
    way = np.linspace(0, 100, 5000)
    chosen = choose_frames(np.ones(5000), way)
    assert len(chosen) == MOST and np.diff(chosen).min() >= 30  # of 33 in the mean
