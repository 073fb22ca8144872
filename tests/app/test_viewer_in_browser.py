"""The viewer's page in a real Chromium: known solids stand, in their colours, at the pixels where they must.

A red box with a green ball inside and a blue ball beside it, far from the origin as a national grid is. The page's
first camera is known, so every point of space has a known pixel; the panel is worked with the mouse, as by a user.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import trimesh
from browser_driver import Browser, chromium, wait_for

from app.viewer import Content
from app.viewer.page import Page
from app.viewer.server import LocalServer, start_server
from app.viewer.serving import open_page
from recon.scene import Frame, Scene
from recon.slices import Label
from render.cameras import Camera, look_at

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no Chromium or Chrome is installed (Debian: apt install chromium)"),
]

ORIGIN = np.array([552_000.0, 5_241_000.0, 300.0])
BOX_LOW, BOX_HIGH = ORIGIN + [-60, -30, -40], ORIGIN + [20, 30, 40]
BALL, RADIUS = ORIGIN + [80, 0, 0], 30.0
CORE, CORE_RADIUS = ORIGIN + [-20, 15, -14], 12.0  # inside the box, below its middle
RED, GREEN, BLUE, WHITE = (0.8, 0.1, 0.1), (0.1, 0.7, 0.2), (0.1, 0.2, 0.8), (1.0, 1.0, 1.0)
NAME = "solids_1*2*3 <b>of</b> [a](file)"
SHADING = 0.25  # light may change a colour's channel by this much

CONTROL = """(() => {
    const label = [...document.querySelectorAll("label")].find(label => label.textContent === %r);
    const control = label && document.getElementById(label.htmlFor);
    if (!control) return null;
    control.scrollIntoView({block: "nearest"});
    const {x, y, width, height} = control.getBoundingClientRect();
    const covered = !control.contains(document.elementFromPoint(x + width / 2, y + height / 2));
    return covered ? null : [x, y, width, height];
})()"""
FOLDER = """[...document.querySelectorAll("div")].filter(div => div.textContent === %r).at(-1).click()"""
CLOSE_NOTICES = """(() => {
    const buttons = [...document.querySelectorAll(".mantine-Notification-closeButton")];
    buttons.forEach(button => button.click());
    return buttons.length;
})()"""


class OpenPage:
    """The page in the browser, its panel by the controls' labels, its canvas by points of space."""

    def __init__(self, browser: Browser, server: LocalServer, page: Page):
        self.browser, self.server, self.page = browser, server, page
        browser.open(f"http://127.0.0.1:{server.get_port()}/?fixedDpr=1")
        wait_for(lambda: browser.evaluate(CLOSE_NOTICES), "the notice about software rendering")  # it covers the canvas

    def camera_position(self) -> np.ndarray:
        """Where the page looks from at first, in user coordinates."""
        return self.page.frame.to_user(self.server.initial_camera.position)

    def click(self, label: str, along: float = 0.5) -> None:
        """Clicks a control of the panel, `along` its width."""
        boxes = [None]

        def at_rest() -> bool:
            boxes[:] = [boxes[-1], self.browser.evaluate(CONTROL % label)]
            return boxes[1] is not None and boxes[0] == boxes[1]

        wait_for(at_rest, f"the control {label} to stand still")
        left, top, width, height = boxes[1]
        self.browser.click(left + along * width, top + height / 2)

    def expect(self, *points: tuple[np.ndarray, tuple[float, float, float]]) -> None:
        """Waits for a picture in which the points of space have these colours."""
        wrong: list[str] = []

        def right(picture: np.ndarray) -> bool:
            wrong[:] = self._wrong(picture, points)
            return not wrong

        try:
            self.browser.picture_when(right, "canvas", "the picture")
        except TimeoutError:
            pytest.fail("; ".join(wrong) or "the page does not come to rest")

    def wait_for_text(self, text: str) -> None:
        """Waits until the page says it."""
        wait_for(lambda: text in self.browser.evaluate("document.body.innerText"), text)

    def click_at(self, point: np.ndarray) -> None:
        """Clicks where a point of space is seen."""
        left, top, width, height = self.browser.box_of("canvas")
        (u, v), *_ = self._pixels([point], round(width), round(height))
        self.browser.click(left + u, top + v)

    def _pixels(self, points: list[np.ndarray], width: int, height: int) -> np.ndarray:
        """Where the first camera sees points of space, on a canvas of that size."""
        start = self.server.initial_camera
        focal = height / 2 / np.tan(start.fov / 2)
        intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        camera = Camera(look_at(start.position, start.look_at, start.up), intrinsics, width, height)
        return camera.project(self.page.frame.from_user(np.array(points)))[0]

    def _wrong(self, picture: np.ndarray, points) -> list[str]:
        height, width = picture.shape[:2]
        seen = [picture[int(v), int(u)] / 255 for u, v in self._pixels([point for point, _ in points], width, height)]
        return [
            f"{point} is {color}, not {wanted}"
            for (point, wanted), color in zip(points, seen, strict=True)
            if np.abs(color - wanted).max() > SHADING
        ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(760, 440) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[OpenPage]:
    objects = {
        "box": trimesh.creation.box(bounds=(BOX_LOW, BOX_HIGH)),
        "ball": trimesh.creation.icosphere(4, RADIUS).apply_translation(BALL),
        "core": trimesh.creation.icosphere(4, CORE_RADIUS).apply_translation(CORE),
    }
    labels = (Label(1, "box", RED), Label(2, "ball", BLUE), Label(3, "core", GREEN))
    scene = Scene(objects=objects, labels=labels, frame=Frame(unit="m"))
    server = start_server("127.0.0.1", 0)
    yield OpenPage(browser, server, open_page(server, Content(NAME, scene)))
    server.stop()


def test_names_from_files_are_shown_as_they_stand(page):
    page.wait_for_text(NAME)


def test_solids_fill_their_silhouettes_in_their_colours(page):
    front = np.array([(BOX_LOW + BOX_HIGH)[0] / 2, BOX_LOW[1], ORIGIN[2]])
    inside_corners = [front + [dx, 0, dz] for dx in (-37, 37) for dz in (-37, 37)]
    beyond_corners = [front + [-45, 0, -38], front + [-45, 0, 38], front + [0, 0, -45]]
    page.expect(
        *((point, RED) for point in inside_corners),
        *((point, WHITE) for point in beyond_corners),
        *((point, BLUE) for point in around_ball(page, 0.92 * RADIUS)),
        *((point, WHITE) for point in around_ball(page, 1.1 * RADIUS)),
    )


def test_section_slider_cuts_and_fills_the_solids_where_it_stands(page):
    at_back = np.array([CORE[0], BOX_HIGH[1] - 4, ORIGIN[2]])
    before_core = toward(page.camera_position(), CORE, ORIGIN[2])  # red only where the section is filled
    page.click("Cut")
    page.expect((BALL, BLUE), (at_back, RED), (before_core, RED), (BALL + [0, 0, RADIUS - 2], WHITE))
    page.click("z (m)", along=0.3)
    wait_for(lambda: page.page.section.sliders["z"].value < ORIGIN[2] - 1, "the slider to move")
    height = page.page.section.sliders["z"].value
    assert height == pytest.approx(CORE[2], abs=0.5 * CORE_RADIUS)
    page.expect((BALL, WHITE), (at_back, WHITE), (on_plane(CORE, height), GREEN), (on_plane(BALL, height), BLUE))


def test_checkbox_hides_its_label(page):
    front = np.array([CORE[0], BOX_LOW[1], ORIGIN[2]])
    page.click("ball")
    page.expect((BALL, WHITE), (front, RED))
    page.click("ball")
    page.expect((BALL, BLUE), (front, RED))


def test_two_clicks_measure_a_distance(page):
    front = np.array([CORE[0], BOX_LOW[1], ORIGIN[2]])
    page.expect((front, RED))
    page.browser.evaluate(FOLDER % "Measure")
    page.click("Click two points")
    page.wait_for_text("Click on the first point")
    page.click_at(front + [-35, 0, 0])
    page.wait_for_text("(55194")
    page.click_at(front + [35, 0, 20])
    said = wait_for(lambda: page.browser.evaluate("document.body.innerText.match(/([0-9.]+) m apart/)"), "a distance")
    assert float(said[1]) == pytest.approx(np.hypot(70, 20), abs=1.0)


def toward(camera: np.ndarray, point: np.ndarray, height: float) -> np.ndarray:
    """Where the line of sight from the camera to a point meets a horizontal plane."""
    return point + (height - point[2]) / (camera[2] - point[2]) * (camera - point)


def on_plane(point: np.ndarray, height: float) -> np.ndarray:
    return np.array([point[0], point[1], height])


def around_ball(page: OpenPage, distance: float) -> list[np.ndarray]:
    """Eight points at `distance` from the ball's centre, square to the line of sight."""
    sight = page.camera_position() - BALL
    u = np.cross(sight, [0, 0, 1]) / np.linalg.norm(np.cross(sight, [0, 0, 1]))
    v = np.cross(sight, u) / np.linalg.norm(sight)
    return [BALL + distance * (np.cos(turn) * u + np.sin(turn) * v) for turn in np.arange(8) * np.pi / 4]
