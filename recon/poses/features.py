"""Features of the photos (SIFT, Lowe 2004), in a database as COLMAP keeps them.

Photos that are in the database already, from a call that was stopped, are not done again. Features whose centre a
photo's mask hides are dropped.
"""

from __future__ import annotations

import functools
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from recon.inputs import Photo, Photos
from recon.poses.settings import Search, quiet

if TYPE_CHECKING:
    import pycolmap

FOCAL_GUESS = 1.2  # longest sides, COLMAP's
BLOCK = 4  # photos for each process between two writes

Grey = UInt8[np.ndarray, "h w"]
Features = tuple[Float32[np.ndarray, "n _"], UInt8[np.ndarray, "n 128"]]


def extract(photos: Photos, database: Path, search: Search, threads: int, done: Callable[[int], None]) -> None:
    """Fills the database with cameras, images and features; `done` is told how many photos are.

    Photo i is image i + 1, and named so: lists of pairs take no names with spaces. Photos of one model and size share
    a camera with one radial distortion.
    """
    import pycolmap

    with pycolmap.Database.open(database) as content:
        if content.num_images() < len(photos.photos):
            content.clear_all_tables()
            _write_images(photos, content)
        missing = [i for i in range(len(photos.photos)) if not content.exists_descriptors(i + 1)]
        before = len(photos.photos) - len(missing)
        done(before)
        with _sift_in(threads) as sift:
            for start in range(0, len(missing), BLOCK * threads):
                block = missing[start : start + BLOCK * threads]
                greys = [_grey(photos.photos[i].image(), search.feature_size) for i in block]
                for count, (i, found) in enumerate(zip(block, sift(greys, search), strict=True), start + 1):
                    _write_features(photos.photos[i], i + 1, found, content)
                    done(before + count)


def _write_images(photos: Photos, content: pycolmap.Database) -> None:
    """Cameras and images, each camera in a rig of its own, as COLMAP asks for it."""
    import pycolmap

    with pycolmap.DatabaseTransaction(content):
        rigs: dict[tuple[str, int, int], tuple[int, int]] = {}
        for i, photo in enumerate(photos.photos):
            key = photo.model, photo.width, photo.height
            if key not in rigs:
                rigs[key] = _write_camera(photo, content)
            camera_id, rig_id = rigs[key]
            image = pycolmap.Image(name=str(i + 1), camera_id=camera_id, image_id=i + 1)
            content.write_image(image, use_image_id=True)
            frame = pycolmap.Frame()
            frame.rig_id = rig_id
            frame.add_data_id(image.data_id)
            content.write_frame(frame)


def _write_camera(photo: Photo, content: pycolmap.Database) -> tuple[int, int]:
    """A camera with its rig: the ids of both."""
    import pycolmap

    focal = photo.focal or FOCAL_GUESS * max(photo.width, photo.height)
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL",
        width=photo.width,
        height=photo.height,
        params=[focal, photo.width / 2, photo.height / 2, 0.0],
    )
    camera.has_prior_focal_length = photo.focal is not None
    camera.camera_id = content.write_camera(camera)
    rig = pycolmap.Rig()
    rig.add_ref_sensor(camera.sensor_id)
    return camera.camera_id, content.write_rig(rig)


@contextmanager
def _sift_in(threads: int) -> Iterator[Callable[[list[Grey], Search], Iterator[Features]]]:
    """Gives the function that seeks features in pictures, in as many processes: pycolmap's holds Python's lock."""
    if threads == 1:
        yield lambda greys, search: (_sift(grey, search) for grey in greys)
        return
    ignore = functools.partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    with ProcessPoolExecutor(threads, multiprocessing.get_context("spawn"), initializer=ignore) as pool:
        yield lambda greys, search: pool.map(_sift, greys, [search] * len(greys))


def _sift(grey: Grey, search: Search) -> Features:
    """Key points (x, y and shape, in parts of the picture's width) and their descriptors."""
    import pycolmap

    options = pycolmap.FeatureExtractionOptions()
    options.num_threads = 1
    options.sift.first_octave = -1
    options.sift.max_num_features = search.max_features
    options.sift.peak_threshold = search.peak_threshold
    with quiet():
        extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
        found, descriptors = extractor.extract_from_uint8_array(grey)
    return pycolmap.keypoints_to_matrix(found) / np.float32(grey.shape[1]), descriptors.data


def _write_features(photo: Photo, image: int, found: Features, content: pycolmap.Database) -> None:
    """Writes those that the photo's mask shows, in the photo's pixels."""
    import pycolmap

    keypoints, data = found[0] * np.float32(photo.width), found[1]
    if photo.mask is not None:
        column, row = np.floor(keypoints[:, :2]).astype(np.int64).T
        seen = photo.mask()[row.clip(0, photo.height - 1), column.clip(0, photo.width - 1)]
        keypoints, data = keypoints[seen], data[seen]
    descriptors = pycolmap.FeatureDescriptors()
    descriptors.type, descriptors.data = pycolmap.FeatureExtractorType.SIFT, data
    content.write_keypoints(image, keypoints)
    content.write_descriptors(image, descriptors)


def _grey(pixels: UInt8[np.ndarray, "h w _"], longest: int) -> Grey:
    """The picture in grey, reduced to `longest` pixels along the longer side."""
    from PIL import Image

    image = Image.fromarray(pixels[..., :3]).convert("L")
    reduction = longest / max(image.size)
    if reduction < 1:
        width, height = (max(1, round(side * reduction)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)
