"""Views of photos whose cameras are known: pinhole cameras, and pictures undistorted as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from recon.distortion import Lens, resample, straightened
from recon.formats.colmap_model import ColmapImage, read_model
from recon.inputs import Photo, Photos, PointCloud, View, Views
from recon.poses.store import MODEL, PoseFacts
from recon.rotations import rotation_matrices
from render.cameras import Camera


def posed_views(photos: Photos, folder: Path, facts: PoseFacts) -> Views:
    """The photos that have a camera in the model that `folder` keeps, with its points.

    Raises:
        UserError: the model is damaged.
    """
    model = read_model(folder / MODEL)
    posed = {image.name: image for image in model.images}
    there = [photo for photo in photos.photos if photo.name in posed]
    views = [_view(photo, model.lenses[posed[photo.name].camera], posed[photo.name]) for photo in there]
    return Views(
        tuple(views),
        PointCloud(model.points, colors=model.colors, unit=facts.unit),
        unposed=tuple(photo.name for photo in photos.photos if photo.name not in posed),
        unit=facts.unit,
        notes=(*photos.notes, *facts.report.lines()),
    )


def _view(photo: Photo, lens: Lens, posed: ColmapImage) -> View:
    """The photo with its camera, straightened."""
    to = straightened(lens)
    pictures = _Pictures(photo, lens, to)
    pose = np.eye(4)
    pose[:3, :3] = rotation_matrices(np.array(posed.quaternion))
    pose[:3, 3] = posed.translation
    camera = Camera(pose, to.intrinsics, to.width, to.height)
    return View(photo.name, camera, pictures.image, None if photo.mask is None else pictures.mask)


@dataclass(frozen=True)
class _Pictures:
    """A photo taken through `lens`, as the pinhole lens `to` would have taken it."""

    photo: Photo
    lens: Lens
    to: Lens

    def image(self) -> UInt8[np.ndarray, "h w _"]:
        return resample(self.photo.image(), self.lens, self.to)

    def mask(self) -> Bool[np.ndarray, "h w"]:
        assert self.photo.mask is not None
        return resample(self.photo.mask(), self.lens, self.to, nearest=True)
