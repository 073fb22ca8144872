"""Views of photos whose cameras are known: pinhole cameras, and pictures undistorted as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from recon.distortion import Lens, resample, straightened
from recon.errors import UserError
from recon.formats.colmap_model import ColmapImage, read_model
from recon.inputs import Photo, Photos, PointCloud, View, Views
from recon.poses.store import MODEL, PoseFacts
from recon.rotations import rotation_matrices
from render.cameras import Camera


def posed_views(photos: Photos, folder: Path, facts: PoseFacts) -> Views:
    """The photos that have a camera in the model that `folder` keeps, with its points.

    Raises:
        UserError: the model is damaged, or the lenses in it let nothing be seen.
    """
    model = read_model(folder / MODEL)
    posed = {image.name: image for image in model.images}
    pinholes = {camera: _pinhole(lens) for camera, lens in model.lenses.items()}
    views = []
    for photo in photos.photos:
        image = posed.get(photo.name)
        if image is not None and (to := pinholes[image.camera]) is not None:
            views.append(_view(photo, model.lenses[image.camera], to, image))
    if not views:
        raise UserError(f"{photos.source}: the lens that was found bends all pictures out of reason; take more photos")
    bent = len(posed) - len(views)
    told = (
        [f"{bent} photos are left out: the distortion that was found for their lens is out of reason."] if bent else []
    )
    there = {view.name for view in views}
    return Views(
        tuple(views),
        PointCloud(model.points, colors=model.colors, unit=facts.unit),
        unposed=tuple(photo.name for photo in photos.photos if photo.name not in there),
        unit=facts.unit,
        notes=(*photos.notes, *facts.report.lines(), *told),
    )


def _pinhole(lens: Lens) -> Lens | None:
    """The lens straightened; None where hardly anything is seen through it, as when its few matches mislead."""
    try:
        return straightened(lens)
    except ValueError:
        return None


def _view(photo: Photo, lens: Lens, to: Lens, posed: ColmapImage) -> View:
    """The photo with its camera, straightened."""
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
