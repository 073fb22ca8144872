"""Polycam's raw export: `keyframes/` with `corrected_images` and `corrected_cameras`, or `images` and `cameras`, and
`depth` of whole millimetres.

Each picture has a JSON file of its own name: fx, fy, cx, cy, width, height, and t_00 to t_23, the rows of the
camera-to-world matrix, OpenGL axes, metres, y up. Depth pictures are smaller than the photos. Frames whose `blur_score`
is below 25 are left out, as nerfstudio does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from recon.distortion import pinhole
from recon.errors import UserError
from recon.formats.camera_poses import OPENGL, inverse, rigid
from recon.formats.options import ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, files_in, views_of
from recon.formats.untrusted import plain, read_whole
from recon.images import LARGEST_SIDE
from recon.inputs import Views

BLURRED = 25.0
MILLIMETRE = 1e-3
SUFFIXES = (".jpg", ".jpeg", ".png")
Pixels = Annotated[int, msgspec.Meta(gt=0, le=LARGEST_SIDE)]


class KeyframeCamera(msgspec.Struct):
    """One camera file."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: Pixels
    height: Pixels
    t_00: float
    t_01: float
    t_02: float
    t_03: float
    t_10: float
    t_11: float
    t_12: float
    t_13: float
    t_20: float
    t_21: float
    t_22: float
    t_23: float
    blur_score: float = BLURRED


def read(path: Path, options: ViewOptions) -> Views:
    """The views of a capture.

    Raises:
        UserError: a camera file is damaged, or the pictures are not there.
    """
    folder = ImageFolder.of(path, options)
    keyframes = path / "keyframes"
    kind = "corrected_" if (keyframes / "corrected_cameras").is_dir() else ""
    files = [file for file in files_in(keyframes / f"{kind}cameras") if file.suffix == ".json"]
    cameras = {file: _camera(file) for file in files}
    posed = {file: _posed(file, camera, f"keyframes/{kind}images", folder) for file, camera in cameras.items()}
    sharp = [image for file, image in posed.items() if cameras[file].blur_score >= BLURRED]
    note = f"{len(posed) - len(sharp)} blurred frames (blur_score below {BLURRED:g}) are left out."
    return views_of(
        path,
        sharp,
        options,
        unit="m",
        up=(0.0, 1.0, 0.0),
        notes=[note] if len(sharp) < len(posed) else [],
        passed_over=[image.file for image in posed.values()],
    )


def _camera(file: Path) -> KeyframeCamera:
    try:
        return msgspec.json.decode(read_whole(file), type=KeyframeCamera)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise UserError(f"{file}: is no camera of Polycam ({plain(problem)})") from problem


def _posed(file: Path, camera: KeyframeCamera, images: str, folder: ImageFolder) -> PosedImage:
    rows = [[getattr(camera, f"t_{row}{column}") for column in range(4)] for row in range(3)]
    camera_to_world = rigid(np.array(rows), f"{file}: the pose t_00 to t_23") @ OPENGL
    picture = folder.find(f"{images}/{file.stem}", suffixes=SUFFIXES)
    depth = ImageFolder(folder.root).find(f"keyframes/depth/{file.stem}.png")
    return PosedImage(
        name=f"{images}/{file.stem}.jpg" if picture is None else folder.name_of(picture),
        file=picture,
        lens=pinhole(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy),
        world_to_camera=inverse(camera_to_world),
        depth=depth,
        depth_unit=MILLIMETRE,
    )
