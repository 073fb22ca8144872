"""Cameras and points from matches: incremental mapping (Schoenberger and Frahm 2016), as COLMAP does it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recon.inputs import Photos
from recon.poses.settings import Leniency

if TYPE_CHECKING:
    import pycolmap


class Mapping(NamedTuple):
    """The largest model that was found, None where none was; `models` are how many photos each has, descending."""

    model: pycolmap.Reconstruction | None
    models: tuple[int, ...]

    @property
    def registered(self) -> frozenset[int]:
        """Which photos have a camera in the model."""
        return frozenset() if self.model is None else frozenset(i - 1 for i in self.model.reg_image_ids())


def map_incrementally(
    database: Path, leniency: Leniency, seed: int, threads: int, done: Callable[[int], None]
) -> Mapping:
    """The model with the most photos (and of those the most points) that the verified matches allow."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = threads
    options.random_seed = seed
    options.extract_colors = False  # the pictures are not in files that COLMAP could read
    options.min_model_size = 3
    options.mapper.init_min_tri_angle = leniency.min_angle
    options.mapper.init_max_forward_motion = leniency.forward
    options.mapper.abs_pose_min_num_inliers = leniency.shared_points
    placed = 0

    def next_image() -> None:
        nonlocal placed
        placed += 1
        done(placed)

    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        found = pycolmap.incremental_mapping(database, folder, folder, options, next_image_callback=next_image)
    models = sorted(found.values(), key=lambda model: (model.num_reg_images(), model.num_points3D()), reverse=True)
    return Mapping(models[0] if models else None, tuple(model.num_reg_images() for model in models))


def color_points(model: pycolmap.Reconstruction, photos: Photos) -> None:
    """Gives each point its mean colour over the photos that it was found in."""
    ids = np.array(sorted(model.point3D_ids()))
    sums, counts = np.zeros((len(ids), 3)), np.zeros(len(ids))
    for image_id in model.reg_image_ids():
        pixels = photos.photos[image_id - 1].image()
        seen = model.image(image_id).get_observation_points2D()
        which = np.searchsorted(ids, [observation.point3D_id for observation in seen])
        column, row = np.floor([observation.xy for observation in seen]).astype(np.int64).reshape(-1, 2).T
        colors = pixels[row.clip(0, pixels.shape[0] - 1), column.clip(0, pixels.shape[1] - 1), :3]
        np.add.at(sums, which, colors)
        np.add.at(counts, which, 1)
    for point, color in zip(ids, (sums / counts[:, None]).round().astype(np.uint8), strict=True):
        model.point3D(point).color = color
