"""Features of the photos (SIFT, Lowe 2004), in a database as COLMAP keeps them.

Photos that are in the database already, from a call that was stopped, are not done again. Features whose centre a
photo's mask hides are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from recon.inputs import Photo, Photos
from recon.poses.settings import Search

if TYPE_CHECKING:
    import pycolmap

FOCAL_GUESS = 1.2  # longest sides, COLMAP's


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
        done(len(photos.photos) - len(missing))
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(lambda i: _features(photos.photos[i], search), missing)
            try:
                for count, (i, (keypoints, descriptors)) in enumerate(zip(missing, found, strict=True)):
                    content.write_keypoints(i + 1, keypoints)
                    content.write_descriptors(i + 1, descriptors)
                    done(len(photos.photos) - len(missing) + count + 1)
            finally:
                pool.shutdown(cancel_futures=True)


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


def _features(photo: Photo, search: Search) -> tuple[Float32[np.ndarray, "n _"], pycolmap.FeatureDescriptors]:
    """Keypoints (x, y and shape) in the photo's pixels and their descriptors."""
    import pycolmap

    options = pycolmap.FeatureExtractionOptions()
    options.num_threads = 1
    options.sift.first_octave = -1
    options.sift.max_num_features = search.max_features
    options.sift.peak_threshold = search.peak_threshold
    extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
    picture = _grey(photo.image(), search.feature_size)
    found, descriptors = extractor.extract_from_uint8_array(picture)
    keypoints = pycolmap.keypoints_to_matrix(found)
    keypoints *= np.float32(photo.width / picture.shape[1])
    if photo.mask is not None:
        column, row = np.floor(keypoints[:, :2]).astype(np.int64).T
        seen = photo.mask()[row.clip(0, photo.height - 1), column.clip(0, photo.width - 1)]
        keypoints, descriptors.data = keypoints[seen], descriptors.data[seen]
    return keypoints, descriptors


def _grey(pixels: UInt8[np.ndarray, "h w _"], longest: int) -> UInt8[np.ndarray, "h2 w2"]:
    """The picture in grey, reduced to `longest` pixels along the longer side."""
    from PIL import Image

    image = Image.fromarray(pixels[..., :3]).convert("L")
    reduction = longest / max(image.size)
    if reduction < 1:
        width, height = (max(1, round(side * reduction)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)
