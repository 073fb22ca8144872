"""`relief export --to transforms`: photos with cameras as nerfstudio reads them.

transforms.json    cameras to world, OpenGL axes (x right, y up, z backward), in the user's coordinates
images/ masks/     the photos as the cameras saw them: lenses straightened, reduced where they were
points.ply         the points to begin with, where there are any
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from recon.errors import UserError
from recon.files import file_names, replacing
from recon.formats.ply_points import write_points
from recon.gaussians.harmonics import DC
from recon.inputs import PointCloud, View, Views
from recon.scene import Scene
from render.meshes import to_bytes

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
JPEG_QUALITY = 95
SEEN = 0.3  # opacity of the splats whose centres stand in for points


def write_transforms(scene: Scene, views: Views, folder: Path, signature: str) -> None:
    """Writes the views and their split; where the input knows no points, the centres of the scene's splats."""
    stems = file_names(str(PurePosixPath(view.name).with_suffix("")) for view in views.views)
    with replacing(folder) as partial:
        for name in ("images", "masks"):
            (partial / name).mkdir(parents=True)
        frames = [_frame(view, stems[str(PurePosixPath(view.name).with_suffix(""))], partial) for view in views.views]
        whole: dict[str, Any] = {"camera_model": "PINHOLE", "frames": frames}
        held_out = [frame["file_path"] for frame, v in zip(frames, views.views, strict=True) if v.held_out]
        if held_out:
            whole["train_filenames"] = [f["file_path"] for f in frames if f["file_path"] not in held_out]
            whole["val_filenames"] = whole["test_filenames"] = held_out
        points = known_points(scene, views)
        if points is not None:
            write_points(points, partial / "points.ply")
            whole["ply_file_path"] = "points.ply"
        if not any((partial / "masks").iterdir()):
            (partial / "masks").rmdir()
        (partial / "transforms.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
        (partial / "README.txt").write_text(f"{signature}: photos with cameras, as nerfstudio reads them.\n")


def known_points(scene: Scene, views: Views | None) -> PointCloud | None:
    """The input's sparse points, or the centres of the opaque splats in their colours, in the user's coordinates."""
    if views is not None and views.points is not None and len(views.points.points):
        return views.points
    if scene.gaussians is None:
        return None
    seen = scene.gaussians.subset(scene.gaussians.opacities > SEEN)
    colors = to_bytes(0.5 + DC * seen.sh[:, 0])
    unit, up = scene.frame.unit, scene.frame.up
    return PointCloud(scene.frame.to_user(seen.means), colors=colors, unit=unit, up=up) if len(seen) else None


def _frame(view: View, stem: str, folder: Path) -> dict[str, Any]:
    """Writes a photo and its mask; gives its entry."""
    from PIL import Image

    image = view.image()
    lossy = image.shape[2] == 3 and view.name.lower().endswith((".jpg", ".jpeg"))
    path = f"images/{stem}{'.jpg' if lossy else '.png'}"
    options: dict[str, Any] = {"quality": JPEG_QUALITY, "subsampling": 0} if lossy else {}
    Image.fromarray(image).save(folder / path, **options)
    camera = view.camera
    entry: dict[str, Any] = {
        "file_path": path,
        "w": camera.width,
        "h": camera.height,
        "fl_x": camera.intrinsics[0, 0],
        "fl_y": camera.intrinsics[1, 1],
        "cx": camera.intrinsics[0, 2],
        "cy": camera.intrinsics[1, 2],
        "transform_matrix": (np.linalg.inv(camera.world_to_camera) @ OPENGL).tolist(),
    }
    if view.mask is not None:
        entry["mask_path"] = f"masks/{stem}.png"
        Image.fromarray(np.where(view.mask(), 255, 0).astype(np.uint8)).save(folder / entry["mask_path"])
    return entry


def require_views(input: object, run: Path) -> Views:
    """The run's photos.

    Raises:
        UserError: it was made of something else, or they are not there any more.
    """
    if not isinstance(input, Views):
        why = "they are not there any more, or are others now" if input is None else "it was not made of photos"
        raise UserError(f"--to transforms: {run} has no photos with cameras to write; {why}")
    return input
