"""Record3D's export of pictures: `rgb/0.jpg`, `rgb/1.jpg`, ... and `metadata.json`.

`poses` holds for each picture a quaternion x, y, z, w and a position, camera to world, OpenGL axes, metres, y up. `K`
is the 3 x 3 matrix of intrinsics column by column, for pictures of `w` by `h` pixels; newer recordings have
`perFrameIntrinsicCoeffs` as well, fx, fy, cx, cy of each picture. Depth (EXR) is not read.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from recon.distortion import Lens, pinhole
from recon.errors import UserError
from recon.formats.camera_poses import OPENGL, inverse
from recon.formats.options import ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, views_of
from recon.formats.untrusted import are_coordinates, plain, read_whole
from recon.images import may_be_sides
from recon.inputs import Views
from recon.rotations import rotation_matrices

SUFFIXES = (".jpg", ".png", ".jpeg")


class Metadata(msgspec.Struct):
    """What is read of metadata.json."""

    poses: list[tuple[float, float, float, float, float, float, float]]
    K: tuple[float, float, float, float, float, float, float, float, float]
    w: int
    h: int
    perFrameIntrinsicCoeffs: list[tuple[float, float, float, float]] = []


def read(path: Path, options: ViewOptions) -> Views:
    """The views of a recording.

    Raises:
        UserError: metadata.json is damaged, or the pictures are not there.
    """
    file = path / "metadata.json" if path.is_dir() else path
    folder = ImageFolder.of(file.parent, options)
    try:
        metadata = msgspec.json.decode(read_whole(file), type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise UserError(f"{file}: is no metadata.json of Record3D ({plain(problem)})") from problem
    poses = np.array(metadata.poses, np.float64).reshape(-1, 7)
    x, y, z, w = poses[:, :4].T
    wxyz = np.stack([w, x, y, z], axis=1)
    if not are_coordinates(poses) or (np.linalg.norm(wxyz, axis=1) < 1e-6).any():
        raise UserError(f"{file}: a pose in it is no quaternion x, y, z, w with a position")
    if not may_be_sides(metadata.w, metadata.h):
        raise UserError(f"{file}: has pictures of {metadata.w} x {metadata.h} pixels; both must be positive")
    each = metadata.perFrameIntrinsicCoeffs
    if each and len(each) != len(poses):
        raise UserError(f"{file}: has {len(each)} perFrameIntrinsicCoeffs for {len(poses)} poses; each has its own")
    posed = []
    for number, (rotation, position) in enumerate(zip(rotation_matrices(wxyz), poses[:, 4:], strict=True)):
        camera_to_world = np.eye(4)
        camera_to_world[:3, :3], camera_to_world[:3, 3] = rotation, position
        picture = folder.find(f"rgb/{number}", suffixes=SUFFIXES)
        name = f"rgb/{number}.jpg" if picture is None else folder.name_of(picture)
        posed.append(PosedImage(name, picture, _lens(metadata, number), inverse(camera_to_world @ OPENGL)))
    return views_of(folder.root, posed, options, unit="m", up=(0.0, 1.0, 0.0))


def _lens(metadata: Metadata, number: int) -> Lens:
    """The lens of a picture."""
    if metadata.perFrameIntrinsicCoeffs:
        fx, fy, cx, cy = metadata.perFrameIntrinsicCoeffs[number]
    else:
        fx, fy, cx, cy = (metadata.K[place] for place in (0, 4, 6, 7))
    return pinhole(metadata.w, metadata.h, fx, fy, cx, cy)
