"""What trained Gaussians make of the views that were held out."""

from __future__ import annotations

from recon.gaussians.model import Gaussians
from recon.gaussians.tensors import to_splats
from recon.inputs import Views
from recon.scene import Frame, SceneCamera
from render.meshes import to_bytes
from render.splats import render_image


def scene_cameras(
    gaussians: Gaussians, views: Views, frame: Frame, background: tuple[float, float, float], device: str = "cpu"
) -> tuple[SceneCamera, ...]:
    """The views' cameras in the frame's coordinates; those held out with the picture that the Gaussians, which are in
    these coordinates too, give of them."""
    into_frame, splats = frame.inverse(), to_splats(gaussians, device)
    cameras = []
    for view in views.views:
        camera = into_frame.camera_to_user(view.camera)
        rendered = None
        if view.held_out:
            rendered = to_bytes(render_image(splats, camera, background, gaussians.antialiased)[..., :3])
        cameras.append(SceneCamera(view.name, camera, bool(view.held_out), rendered))
    return tuple(cameras)
