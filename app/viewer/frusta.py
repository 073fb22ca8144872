"""The cameras of photos on the page: pyramids with the photos on them, and the sparse points."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import viser
from jaxtyping import Float, UInt8

from app.viewer.layer import Layer
from recon.formats import ViewOptions
from recon.inputs import View, Views
from render.cameras import Camera

if TYPE_CHECKING:
    from app.viewer.controls import LabelControls
    from app.viewer.page import Page
    from app.viewer.surfaces import Surface

MOST_FRUSTA = 300
MOST_POINTS = 300_000
THUMBNAIL = 160  # pixels of the longer side
SIZES = (0.01, 0.4)  # of a pyramid, in the page's unit
SURROUNDINGS = 2.5  # how far from the middle the first view takes in cameras, in the page's unit
TRAINED_COLOR, HELD_OUT_COLOR = (31, 112, 140), (217, 89, 26)
PLAIN = (115, 143, 168)
FLIGHT_SECONDS, FLIGHT_STEPS = 0.6, 24

logger = logging.getLogger(__name__)


class FrustumLayer(Layer):
    """The cameras, with the folder "Photos": a click on one flies there. Held-out views are orange."""

    def __init__(self, page: Page, views: Views):
        super().__init__(page.server)
        self.colors = {}
        self._page, self._views = page, views
        into = page.frame.inverse()
        step = int(np.ceil(len(views.views) / MOST_FRUSTA))
        self._shown = [(view, into.camera_to_user(view.camera)) for view in views.views[::step]]
        self._thumbnails: dict[str, UInt8[np.ndarray, "h w 3"]] = {}
        cloud = views.points
        count = 0 if cloud is None else len(cloud.points)
        with page.server.gui.add_folder("Photos", order=3):
            self.cameras = page.server.gui.add_checkbox("Cameras", True, hint="Click on one to fly there")
            self.size = page.server.gui.add_slider("Camera size", *SIZES, 0.01, self._fitting_size())
            self.sparse = page.server.gui.add_checkbox("Sparse points", count > 0, visible=count > 0)
            self._said = page.server.gui.add_markdown(self._sentence(step))
        self.cameras.on_update(lambda _: self.restyle())
        self.sparse.on_update(lambda _: self.restyle())
        self.size.on_update(lambda _: self.redraw())
        threading.Thread(target=self._read_thumbnails, name="thumbnails", daemon=True).start()

    def show(self, surfaces: Sequence[Surface], labels: LabelControls) -> None:
        """Draws the cameras; where there is a surface or splats the sparse points step back."""
        if not self.nodes:
            self.redraw()

    def offer_options(self, name: str, options: ViewOptions) -> None:
        """Views are taken as they are."""

    def surroundings(self) -> Float[np.ndarray, "n 3"]:
        """Where the cameras stand; those far away, at the edge of what the first view takes in."""
        return np.array([camera.position for _, camera in self._shown]).clip(-SURROUNDINGS, SURROUNDINGS)

    def touchable_points(self) -> Float[np.ndarray, "n 3"] | None:
        """The sparse points while they are seen."""
        if not self.sparse.value or self._views.points is None:
            return None
        return self._page.frame.from_user(self._views.points.points)

    def draw(self) -> None:
        for number, (view, camera) in enumerate(self._shown):
            self._add_frustum(f"/photos/{number}", view, camera)
        cloud = self._views.points
        if cloud is not None and len(cloud.points):
            some = cloud.subset(np.random.default_rng(0).permutation(len(cloud.points))[:MOST_POINTS])
            colors = np.tile(np.array(PLAIN, np.uint8), (len(some.points), 1)) if some.colors is None else some.colors
            self.add_points("/photos/sparse", self._page.frame.from_user(some.points), colors, 0.006)

    def restyle(self) -> None:
        with self.lock:
            for node in self.frusta.values():
                node.visible = self.cameras.value
            for node in self.points.values():
                node.visible = self.sparse.value

    def _add_frustum(self, name: str, view: View, camera: Camera) -> None:
        fov = 2 * np.arctan(camera.height / 2 / camera.intrinsics[1, 1])
        node = self.server.scene.add_camera_frustum(
            name,
            fov=float(fov),
            aspect=camera.width / camera.height,
            scale=self.size.value,
            thickness=1.5,
            thickness_units="screen",
            color=HELD_OUT_COLOR if view.held_out else TRAINED_COLOR,
            image=self._thumbnails.get(view.name),
            jpeg_quality=80,
            wxyz=_wxyz(camera),
            position=camera.position,
            cast_shadow=False,
            receive_shadow=False,
        )
        node.on_click(lambda event: self._fly(event.client, camera))
        self.frusta[name] = node

    def _read_thumbnails(self) -> None:
        """Reads the photos one after the other and puts them on their pyramids."""
        try:
            for number, (view, _) in enumerate(self._shown):
                self._thumbnails[view.name] = _thumbnail(view)
                with self.lock:
                    node = self.frusta.get(f"/photos/{number}")
                    if node is not None:
                        node.image = self._thumbnails[view.name]
        except Exception:
            logger.exception("A photo could not be read; the cameras stay without theirs.")

    def _fly(self, client: viser.ClientHandle, camera: Camera) -> None:
        """Moves the browser's view to where the photo was taken, and looks as it did."""
        from scipy.spatial.transform import Rotation, Slerp

        start, end = np.asarray(client.camera.position), camera.position
        turns = Rotation.from_quat(np.roll([client.camera.wxyz, _wxyz(camera)], -1, axis=1))
        between = Slerp([0, 1], turns)
        fov = client.camera.fov, 2 * float(np.arctan(camera.height / 2 / camera.intrinsics[1, 1]))
        for part in np.linspace(0, 1, FLIGHT_STEPS + 1)[1:]:
            smooth = float(part * part * (3 - 2 * part))
            with client.atomic():
                client.camera.wxyz = np.roll(between(smooth).as_quat(), 1)
                client.camera.position = (1 - smooth) * start + smooth * end
                client.camera.fov = (1 - smooth) * fov[0] + smooth * fov[1]
            client.flush()
            time.sleep(FLIGHT_SECONDS / FLIGHT_STEPS)
        ahead = max(float(-end @ camera.forward), 0.2)  # where the line of sight is nearest to the middle of the page
        client.camera.look_at = end + ahead * camera.forward

    def _fitting_size(self) -> float:
        """An eighth of the distance to the nearest other camera, the median of all."""
        positions = np.array([camera.position for _, camera in self._shown])
        if len(positions) < 2:
            return 0.1
        away = np.linalg.norm(positions[:, None] - positions[None], axis=2) + np.diag(np.full(len(positions), np.inf))
        return float(np.clip(round(np.median(away.min(1)) / 8, 2), *SIZES))

    def _sentence(self, step: int) -> str:
        count = len(self._views.views)
        held_out = sum(bool(view.held_out) for view in self._views.views)
        some = f"; every {step}th is shown" if step > 1 else ""
        return f"{count} photos, {held_out} of them held out (orange){some}"


def _wxyz(camera: Camera) -> Float[np.ndarray, "4"]:
    from scipy.spatial.transform import Rotation

    return np.roll(Rotation.from_matrix(camera.world_to_camera[:3, :3].T).as_quat(), 1)


def _thumbnail(view: View) -> UInt8[np.ndarray, "h w 3"]:
    from PIL import Image

    image = view.image()
    picture = Image.fromarray(image)
    if image.shape[2] == 4:
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture).convert("RGB")
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(picture)
