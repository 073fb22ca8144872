"""Where the page looks from, what is up, and where the light comes from: the folder "View"."""

from __future__ import annotations

import numpy as np
import viser
from jaxtyping import Float

from render.cameras import Camera, framing

FIELD_OF_VIEW = 35.0  # degrees from top to bottom; narrow, so that parallel edges look parallel
NEAR, FAR = 0.05, 100.0  # a close range, so that layers 1e-4 apart keep their order in the depth buffer
UP_AXES = {"+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 1, 0), "-y": (0, -1, 0), "+z": (0, 0, 1), "-z": (0, 0, -1)}

AMBIENT = 0.9
LIGHTS = {  # intensity, and the direction that it comes from: to the right, to the front, up
    "key": (2.2, (-0.4, 1.0, 1.1)),
    "fill": (0.9, (1.0, 0.5, 0.1)),
    "back": (0.7, (0.2, -1.0, -0.3)),
}


def nearest_axis(direction: tuple[float, float, float]) -> str:
    """The name of the coordinate axis ("+x" ... "-z") that is closest to a direction."""
    return max(UP_AXES, key=lambda name: float(np.dot(UP_AXES[name], direction)))


def stage_axes(up: str) -> Float[np.ndarray, "3 3"]:
    """Unit vectors to the right, to the front (toward the viewer) and up, as rows."""
    above = np.array(UP_AXES[up], float)
    right = np.array((0.0, 1.0, 0.0) if up[1] == "x" else (1.0, 0.0, 0.0))
    return np.stack([right, np.cross(right, above), above])


def overview(up: str, corners: Float[np.ndarray, "n 3"]) -> Camera:
    """The closest camera in front, to the right and above that sees all the corners in a square picture."""
    direction = np.array([0.6, 1.0, 0.45]) @ stage_axes(up)
    return framing(corners, direction, UP_AXES[up], (1000, 1000), FIELD_OF_VIEW)


class ViewControls:
    """Reset, up axis and background. `corners` (n, 3) are what the first view shows, in the page's coordinates."""

    def __init__(self, server: viser.ViserServer, up: str, corners: Float[np.ndarray, "n 3"]):
        self._server, self._corners = server, corners
        with server.gui.add_folder("View", order=5):
            reset = server.gui.add_button("Reset view", icon=viser.Icon.HOME)
            self._up = server.gui.add_dropdown("Up axis", tuple(UP_AXES), initial_value=up)
            self.dark = server.gui.add_checkbox("Dark background", False)
        reset.on_click(lambda event: self._look_from_start(event.client))
        self._up.on_update(lambda _: self._turn_up())
        self.dark.on_update(lambda _: self._set_theme())
        self._set_theme()
        camera = server.initial_camera
        camera.fov, camera.near, camera.far = float(np.radians(FIELD_OF_VIEW)), NEAR, FAR
        self._turn_up()

    @property
    def right(self) -> Float[np.ndarray, "3"]:
        """The direction to the right as first seen."""
        return overview(self._up.value, self._corners).world_to_camera[0, :3]

    def fit(self, corners: Float[np.ndarray, "n 3"]) -> None:
        """Looks at other corners from now on."""
        self._corners = corners
        self._place(self._server.initial_camera)
        for client in self._server.get_clients().values():
            self._look_from_start(client)

    def _turn_up(self) -> None:
        scene, up = self._server.scene, self._up.value
        scene.set_up_direction(UP_AXES[up])
        scene.configure_default_lights(False)
        scene.configure_environment_map(None)
        scene.add_light_ambient("/lights/ambient", intensity=AMBIENT)
        for name, (intensity, direction) in LIGHTS.items():
            position = np.array(direction) @ stage_axes(up)
            scene.add_light_directional(f"/lights/{name}", intensity=intensity, position=tuple(position))
        self._place(self._server.initial_camera)
        self._server.initial_camera.up = UP_AXES[up]
        for client in self._server.get_clients().values():
            self._look_from_start(client)

    def _look_from_start(self, client: viser.ClientHandle | None) -> None:
        if client is None:  # the browser is gone already
            return
        with client.atomic():
            client.camera.up_direction = UP_AXES[self._up.value]
            self._place(client.camera)

    def _place(self, camera: viser.CameraHandle | viser.InitialCameraConfig) -> None:
        view = overview(self._up.value, self._corners)
        camera.fov = float(np.radians(FIELD_OF_VIEW))  # a flight to a photo changes it
        camera.position = view.position
        camera.look_at = view.position - (view.position @ view.forward) * view.forward  # the point nearest the origin

    def _set_theme(self) -> None:
        self._server.gui.configure_theme(
            dark_mode=self.dark.value, show_logo=False, show_share_button=False, brand_color=(58, 96, 132)
        )
