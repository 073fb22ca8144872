"""Relief's own `cameras.json` (see `recon.formats.cameras_json`) beside the images that it names."""

from __future__ import annotations

from pathlib import Path

from recon.distortion import Lens
from recon.formats import cameras_json
from recon.formats.camera_poses import rigid
from recon.formats.options import ViewOptions
from recon.formats.posed_images import ImageFolder, PosedImage, views_of
from recon.formats.untrusted import plain
from recon.inputs import Views


def read(path: Path, options: ViewOptions) -> Views:
    """The views of a cameras.json.

    Raises:
        UserError: it is not of this form, or its images are not there.
    """
    file = path / "cameras.json" if path.is_dir() else path
    folder = ImageFolder.of(file.parent, options)
    cameras, frame = cameras_json.read(file)
    posed = []
    for one in cameras:
        camera, picture = one.camera, folder.find(one.name)
        lens = Lens(camera.width, camera.height, camera.intrinsics)
        pose = rigid(camera.world_to_camera, f"{file}: the pose of {plain(one.name, 60)}")
        name = plain(one.name) if picture is None else folder.name_of(picture)
        posed.append(PosedImage(name, picture, lens, pose, held_out=one.held_out))
    unit = (options.unit or "unknown") if frame.unit == "unknown" else frame.unit
    return views_of(folder.root, posed, options, unit=unit, up=frame.up)
