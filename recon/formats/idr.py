"""IDR and NeuS: `cameras_sphere.npz` (or `cameras.npz`) beside `image/` and `mask/`, as their DTU and BlendedMVS sets.

For image i in the order of names, `world_mat_i` is 4 x 4 with a projection matrix as its first three rows, pixel
centres at whole numbers, and `scale_mat_i` takes the unit sphere around the object to the world. Coordinates stay the
world's; masks belong to images of the same place in the order of names.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from recon.distortion import Lens
from recon.errors import UserError
from recon.formats.camera_poses import decomposed
from recon.formats.numpy_arrays import read_archive
from recon.formats.options import ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, images_in_order, views_of
from recon.images import examine
from recon.inputs import Views

NAMES = ("cameras_sphere.npz", "cameras.npz")
IMAGE_FOLDERS = ("image", "images", "rgb")
MASK_FOLDERS = ("mask", "masks")
WORLD = re.compile(r"world_mat_[0-9]+$")


def read(path: Path, options: ViewOptions) -> Views:
    """The views of a set.

    Raises:
        UserError: a matrix is missing or no camera's, or there are more or fewer images than matrices.
    """
    file = next((path / name for name in NAMES if (path / name).is_file()), path)
    folder = ImageFolder.of(file.parent, options)
    arrays = read_archive(file)
    names = sorted((name for name in arrays if WORLD.match(name)), key=lambda name: int(name.rpartition("_")[2]))
    pictures = images_in_order(folder, IMAGE_FOLDERS)
    masks = images_in_order(ImageFolder(folder.root), MASK_FOLDERS)
    if not names or len(pictures) != len(names):
        raise UserError(f"{file}: has {len(names)} matrices world_mat_<i> for {len(pictures)} images; each has its own")
    posed = []
    for place, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        if arrays[name].shape not in ((4, 4), (3, 4)) or arrays[name].dtype.names:
            raise UserError(f"{file}: {name} is of the shape {arrays[name].shape}; 4 x 4 numbers are needed")
        intrinsics, pose = decomposed(arrays[name][:3].astype(np.float64), f"{file}: {name}")
        intrinsics[:2, 2] += 0.5
        mask = masks[place] if len(masks) == len(pictures) else None
        lens = Lens(*examine(picture)[:2], intrinsics)
        posed.append(PosedImage(folder.name_of(picture), picture, lens, pose, mask=mask))
    lost = [f"{len(masks)} masks do not fit {len(pictures)} images and are left out."]
    notes = lost if len(masks) not in (0, len(pictures)) else []
    return views_of(folder.root, posed, options, unit=options.unit or "unknown", notes=notes)
