"""What the splats look like exactly, drawn here and sent as a picture when a browser's view rests.

All splats take part, also those that the browser was not sent, and their colours are those of the direction. The
picture carries depths: cameras and surfaces before the splats stay in sight.
"""

from __future__ import annotations

import logging
import threading

import numpy as np
import viser
from jaxtyping import Float32, UInt8

from app.viewer.splats import SplatLayer
from recon.gaussians.model import Gaussians
from render.cameras import Camera
from render.meshes import to_bytes

REST_SECONDS = 0.35
MOST_PIXELS = 1_000_000
FAR = 100.0  # the depth of what no splat covers
COVERED = 0.5  # alpha from which a pixel has a depth

logger = logging.getLogger(__name__)


class Stills:
    """Watches the browsers' cameras. `dark` says whether the page is."""

    def __init__(self, server: viser.ViserServer, layer: SplatLayer, dark: viser.GuiCheckboxHandle):
        self._layer, self._dark, self._server = layer, dark, server
        self._lock = threading.Lock()
        self._timers: dict[int, threading.Timer] = {}
        self._shown: set[int] = set()
        server.on_client_connect(self._watch)
        server.on_client_disconnect(lambda client: self._forget(client.client_id))
        layer.at_rest.on_update(lambda _: self.renew())

    def _watch(self, client: viser.ClientHandle) -> None:
        client.camera.on_update(lambda _: self._moved(client))

    def renew(self) -> None:
        """Draws again for every browser, because what is shown has changed."""
        for client in self._server.get_clients().values():
            self._moved(client)

    def _forget(self, client_id: int) -> None:
        timer = self._timers.pop(client_id, None)
        if timer is not None:
            timer.cancel()
        self._shown.discard(client_id)

    def _moved(self, client: viser.ClientHandle) -> None:
        """Shows the browser's own splats again and waits until the view rests."""
        shown = client.client_id in self._shown
        self._forget(client.client_id)
        if shown:
            self._layer.rest(bool(self._shown))
            client.scene.set_background_image(None)
        if self._layer.at_rest.value and self._layer.drawn is not None:
            timer = threading.Timer(REST_SECONDS, lambda: self._draw(client))
            timer.daemon = True
            self._timers[client.client_id] = timer
            timer.start()

    def _draw(self, client: viser.ClientHandle) -> None:
        timer, gaussians = self._timers.get(client.client_id), self._layer.drawn
        if gaussians is None or not len(gaussians):
            return
        try:
            with self._lock:
                image, depth = still(gaussians, camera_of(client), 0.08 if self._dark.value else 1.0)
        except Exception:
            logger.exception("The exact picture could not be drawn.")
            return
        if self._timers.get(client.client_id) is timer:  # the view has not moved meanwhile
            self._shown.add(client.client_id)
            client.scene.set_background_image(image, depth=depth)
            self._layer.rest(True)


def camera_of(client: viser.ClientHandle) -> Camera:
    """What the browser looks through, on at most `MOST_PIXELS` pixels."""
    seen = client.camera
    height = min(seen.image_height, int(np.sqrt(MOST_PIXELS / seen.aspect)))
    width = round(height * seen.aspect)
    return perspective(np.asarray(seen.wxyz), np.asarray(seen.position), seen.fov, width, height)


def perspective(
    wxyz: Float32[np.ndarray, "4"], position: Float32[np.ndarray, "3"], fov: float, width: int, height: int
) -> Camera:
    """The camera of viser's pose and field of view (from top to bottom, in radians)."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(np.roll(wxyz, -1)).as_matrix().T
    matrix[:3, 3] = -matrix[:3, :3] @ position
    focal = height / 2 / np.tan(fov / 2)
    return Camera(matrix, np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), width, height)


def still(
    gaussians: Gaussians, camera: Camera, ground: float
) -> tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 1"]]:
    """The picture on a grey ground, and its depths."""
    import torch

    from recon.gaussians.tensors import to_splats
    from render.splats import rasterize

    view, lens = (torch.tensor(matrix, dtype=torch.float32) for matrix in (camera.world_to_camera, camera.intrinsics))
    with torch.no_grad():
        picture = rasterize(
            to_splats(gaussians),
            view,
            lens,
            camera.width,
            camera.height,
            background=torch.full((3,), ground),
            antialiased=gaussians.antialiased,
            geometry=True,
        )
    assert picture.median_depth is not None
    covered = picture.alpha.numpy() > COVERED
    depth = np.where(covered, picture.median_depth.numpy(), np.float32(FAR))
    return to_bytes(picture.color.clamp(0, 1).numpy()), depth[..., None].astype(np.float32)
