"""Points in a real Chromium: a red plate, a blue ball and one stray green point at the pixels where they must be."""

import numpy as np
import pytest
from browser_driver import Browser, chromium, wait_for
from test_viewer_in_browser import BLUE, GREEN, ORIGIN, RED, WHITE, OpenPage, browser  # noqa: F401 - a fixture

from app.viewer import Content
from app.viewer.server import start_server
from app.viewer.serving import open_page
from recon.formats import PointOptions
from recon.inputs import PointCloud
from recon.scene import Scene
from render.meshes import to_bytes

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no Chromium or Chrome is installed (Debian: apt install chromium)"),
]

BALL, RADIUS = ORIGIN + [70, 0, 0], 25.0
STRAY = ORIGIN + [40, 0, 60]


@pytest.fixture
def page(browser: Browser):  # noqa: F811
    x, z = np.meshgrid(np.arange(-60.0, 20), np.arange(-40.0, 41))
    plate = np.stack([x.ravel(), np.full(x.size, -30.0), z.ravel()], axis=1) + ORIGIN
    directions = np.random.default_rng(0).normal(size=(6000, 3))
    ball = BALL + RADIUS * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    parts = (plate, RED), (ball, BLUE), (STRAY[None], GREEN)
    colors = np.concatenate([np.tile(to_bytes(np.array(color)), (len(points), 1)) for points, color in parts])
    cloud = PointCloud(np.concatenate([points for points, _ in parts]), colors=colors, unit="m")
    server = start_server("127.0.0.1", 0)
    content = Content("scan.laz", Scene(), cloud, reading=PointOptions())
    yield OpenPage(browser, server, open_page(server, content))
    server.stop()


def test_points_fill_their_silhouettes_in_their_colours(page):
    inside = [ORIGIN + [x, -30, z] for x in (-57, 16) for z in (-37, 37)]
    outside = [ORIGIN + [-63, -30, 0], ORIGIN + [-20, -30, 45], ORIGIN + [30, -30, -40]]
    page.expect(*((at, RED) for at in inside), *((at, WHITE) for at in outside), (BALL, BLUE), (STRAY, GREEN))


def test_sliders_cut_and_choose_points_and_say_the_flag(page):
    page.expect((STRAY, GREEN), (ORIGIN + [-20, -30, 30], RED))
    page.click("Cut")
    page.expect((STRAY, WHITE), (ORIGIN + [-20, -30, 30], WHITE), (ORIGIN + [-20, -30, -30], RED))
    page.click("Cut")
    page.expect((STRAY, GREEN))
    page.click("Drop outliers", along=0.4)
    page.wait_for_text("--drop-outliers=")
    page.expect((STRAY, WHITE), (ORIGIN + [-20, -30, 30], RED), (BALL, BLUE))
    said = wait_for(lambda: page.browser.evaluate("document.body.innerText.match(/([0-9,]+) of 12,481 points/)"), "it")
    assert int(said[1].replace(",", "")) >= 12_400
