"""Splats and cameras in a real Chromium: three balls of splats in their colours at the pixels where they must be."""

import numpy as np
import pytest
from browser_driver import Browser, chromium, wait_for
from splat_scene import BALLS, BLUE, GREEN, RED, WHITE, scene_of_balls, views_of_balls
from test_viewer_in_browser import OpenPage, browser  # noqa: F401 - a fixture

from app.viewer import Content
from app.viewer.server import start_server
from app.viewer.serving import open_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no Chromium or Chrome is installed (Debian: apt install chromium)"),
]

(LEFT, RADIUS, _), (RIGHT, _, _), (TOP, TOP_RADIUS, _) = ((np.array(center), *rest) for center, *rest in BALLS)


@pytest.fixture
def page(browser: Browser):  # noqa: F811
    views = views_of_balls()
    server = start_server("127.0.0.1", 0)
    yield OpenPage(browser, server, open_page(server, Content("balls", scene_of_balls(views), views)))
    server.stop()


def across(page: OpenPage, center: np.ndarray, distance: float) -> list[np.ndarray]:
    """Eight points so far from a centre, square to the line of sight."""
    sight = page.camera_position() - center
    u = np.cross(sight, [0, 0, 1]) / np.linalg.norm(np.cross(sight, [0, 0, 1]))
    v = np.cross(sight, u) / np.linalg.norm(sight)
    return [center + distance * (np.cos(turn) * u + np.sin(turn) * v) for turn in np.arange(8) * np.pi / 4]


def test_splats_fill_their_silhouettes_and_the_cut_takes_those_beyond_it(page):
    page.click("Cameras")  # they would stand before the balls
    inside = [(at, GREEN) for at in across(page, TOP, 0.7 * TOP_RADIUS)]
    outside = [(at, WHITE) for at in across(page, TOP, 1.3 * TOP_RADIUS)]
    page.expect((LEFT, RED), (RIGHT, BLUE), (TOP, GREEN), *inside, *outside)
    page.click("Cut")  # at z = .44, between the lower balls and the upper
    page.expect((LEFT, RED), (RIGHT, BLUE), (TOP, WHITE))
    page.click("z (m)", along=0.9)
    page.expect((LEFT, RED), (RIGHT, BLUE), (TOP - [0, 0, 0.2], GREEN))


def test_an_exact_picture_stands_where_the_browsers_splats_stood(page):
    page.click("Cameras")
    page.expect((TOP, GREEN))
    page.click("Exact at rest")
    wait_for(lambda: not page.page.splats.splats["/splats"].visible, "the exact picture")
    page.expect((LEFT, RED), (RIGHT, BLUE), (TOP, GREEN), *[(at, WHITE) for at in across(page, TOP, 1.3 * TOP_RADIUS)])


def test_a_click_on_a_camera_flies_to_its_photo(page):
    wait_for(lambda: len(page.page.input._thumbnails) == 10, "the photos")
    page.expect((TOP, GREEN))
    photo = page.page.input._shown[7][1]
    tangent = photo.height / 2 / photo.intrinsics[1, 1]
    depth = page.page.input.size.value / np.cbrt(tangent**2 * photo.width / photo.height / 3)  # viser's measure
    page.click_at(page.page.frame.to_user(photo.position + depth * photo.forward))
    (client,) = page.server.get_clients().values()
    wait_for(lambda: np.allclose(client.camera.position, photo.position, atol=1e-3), "the flight")
    forward = np.subtract(client.camera.look_at, client.camera.position)
    np.testing.assert_allclose(forward / np.linalg.norm(forward), photo.forward, atol=1e-2)
