"""3 x 4 projection matrices beside images: for `00006.jpg` a text file `00006_P.txt` of twelve numbers.

A matrix takes a world point (x, y, z, 1) to pixels (u w, v w, w), pixel centres at whole numbers. The images lie in the
folder of the matrices, in its parent, or in `images/` beside either. A matrix does not say how large its image was:
where images were reduced since, `calibrated_width` tells the width that the matrices were made for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from recon.distortion import Lens
from recon.errors import UserError
from recon.formats.camera_poses import decomposed
from recon.formats.options import ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, files_in, views_of
from recon.formats.untrusted import plain, read_whole
from recon.images import SUFFIXES, examine
from recon.inputs import Views

ENDING = "_P.txt"
MATRIX_FOLDERS = ("P", "images", "")
IMAGE_FOLDERS = ("images", "")
LONGEST_FILE = 4096
OFF_CENTRE = 0.2  # of the width: principal points farther from the middle belong to images of another size


def read(path: Path, options: ViewOptions) -> Views:
    """The views of a folder of images and matrices.

    Raises:
        UserError: a matrix is no camera's, or the principal points do not fit the size of the images.
    """
    folder = ImageFolder.of(path, options)
    files = [file for name in MATRIX_FOLDERS for file in files_in(path / name) if file.name.endswith(ENDING)]
    pictures = {file: folder.find(file.name.removesuffix(ENDING), IMAGE_FOLDERS, SUFFIXES) for file in files}
    posed = [_posed(file, picture, folder, options) for file, picture in pictures.items()]
    return views_of(path, posed, options, unit=options.unit or "unknown")


def _posed(file: Path, picture: Path | None, folder: ImageFolder, options: ViewOptions) -> PosedImage:
    intrinsics, pose = decomposed(_matrix(file), f"{file}: what it holds")
    intrinsics[:2, 2] += 0.5
    if picture is None:
        return PosedImage(file.name.removesuffix(ENDING), None, Lens(1, 1, intrinsics), pose)
    width, height = examine(picture)[:2]
    factor = 1.0 if options.calibrated_width is None else options.calibrated_width / width
    lens = Lens(round(width * factor), round(height * factor), intrinsics)
    if abs(intrinsics[0, 2] / lens.width - 0.5) > OFF_CENTRE:
        about = round(2 * intrinsics[0, 2])
        raise UserError(
            f"{file}: its principal point, at x = {intrinsics[0, 2]:.0f}, does not fit {lens.width} pixels of width; "
            f"--calibrated-width tells the width of the images that the matrices were made for (about {about})"
        )
    return PosedImage(folder.name_of(picture), picture, lens, pose)


def _matrix(file: Path) -> Float64[np.ndarray, "3 4"]:
    text = read_whole(file, LONGEST_FILE).decode("latin-1")
    try:
        return np.array(text.split(), np.float64).reshape(3, 4)
    except ValueError as problem:
        raise UserError(f"{file}: is not a matrix of 3 rows of 4 numbers ({plain(problem, 60)})") from problem
