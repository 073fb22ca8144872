"""LLFF: `poses_bounds.npy` beside `images/`, as the forward-facing scenes of LLFF and NeRF have it.

A row of 17 numbers belongs to the image of the same place in the order of names: a 3 x 5 matrix row by row, and the
nearest and farthest depth. The matrix holds the camera-to-world pose with the camera's axes down, right and backward
as columns, its position, and height, width and focal length in pixels; the principal point is the middle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.distortion import pinhole
from recon.errors import UserError
from recon.formats.camera_poses import inverse, rigid
from recon.formats.numpy_arrays import read_array
from recon.formats.options import ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, images_in_order, views_of
from recon.images import may_be_sides
from recon.inputs import Views

FOLDERS = ("images", "images_2", "images_4", "images_8", "")


def read(path: Path, options: ViewOptions) -> Views:
    """The views of an LLFF scene.

    Raises:
        UserError: the array has another shape, holds no poses, or there are more or fewer images than rows.
    """
    file = path / "poses_bounds.npy" if path.is_dir() else path
    folder = ImageFolder.of(file.parent, options)
    rows = read_array(file)
    if rows.ndim != 2 or rows.shape[1] != 17 or rows.dtype.names:
        raise UserError(f"{file}: is an array of the shape {rows.shape}; LLFF's poses are rows of 17 numbers")
    pictures = images_in_order(folder, FOLDERS)
    if len(pictures) != len(rows):
        raise UserError(
            f"{file}: has {len(rows)} rows for {len(pictures)} images; each image has its row, by name order"
        )
    posed = []
    for number, (picture, row) in enumerate(zip(pictures, rows.astype(np.float64), strict=True)):
        columns = row[:15].reshape(3, 5)
        down, right, backward, position, (height, width, focal) = columns.T
        matrix = rigid(np.stack([right, down, -backward, position], axis=1), f"{file}: the pose in row {number}")
        if not may_be_sides(width, height):
            raise UserError(f"{file}: row {number} has an image of {width:g} x {height:g} pixels")
        lens = pinhole(int(width), int(height), focal, focal, width / 2, height / 2)
        posed.append(PosedImage(folder.name_of(picture), picture, lens, inverse(matrix)))
    return views_of(folder.root, posed, options, unit=options.unit or "unknown")
