"""Splats on the viewer's page without a browser: what is sent of them, cleaning and undo, paths of the camera."""

import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from splat_scene import BALLS, balls, cameras_around, scene_of_balls, views_of_balls

from app.camera_paths import along, orbit
from app.viewer import Content, LivePreview
from app.viewer.cleaning import CleaningPanel
from app.viewer.content import load
from app.viewer.server import start_server
from app.viewer.serving import open_page
from app.viewer.splats import UNITS, covariances, most_important, page_gaussians
from app.viewer.stills import perspective, still
from recon.errors import UserError
from recon.formats.splats import write_splats
from recon.gaussians.model import Gaussians
from recon.scene import Frame, Scene
from render.cameras import look_at

FAR = np.array([552_000.0, 5_241_000.0, 300.0])


@pytest.fixture
def server():
    opened = start_server("127.0.0.1", 0)
    yield opened
    opened.stop()


def random_gaussians(count: int) -> Gaussians:
    rng = np.random.default_rng(1)
    return Gaussians(
        means=rng.normal(size=(count, 3)).astype(np.float32),
        log_scales=rng.uniform(-4, -1, (count, 3)).astype(np.float32),
        quaternions=rng.normal(size=(count, 4)).astype(np.float32),
        opacity_logits=rng.normal(size=count).astype(np.float32),
        sh=rng.normal(size=(count, 1, 3)).astype(np.float32),
    )


def test_covariances_are_those_of_turned_ellipsoids():
    gaussians = random_gaussians(40)
    turns = Rotation.from_quat(np.roll(gaussians.quaternions, -1, axis=1)).as_matrix()
    expected = np.einsum("nij,nj,nkj->nik", turns, np.exp(2.0 * gaussians.log_scales), turns)
    np.testing.assert_allclose(covariances(gaussians), expected, rtol=1e-3, atol=1e-6)


def test_of_too_many_splats_the_large_and_opaque_stay():
    gaussians = random_gaussians(1000)
    scales = np.sort(gaussians.scales, axis=1)
    weight = scales[:, 1] * scales[:, 2] * gaussians.opacities
    kept = most_important(gaussians, 100)
    assert {tuple(mean) for mean in kept.means} == {tuple(mean) for mean in gaussians.means[np.argsort(-weight)[:100]]}
    assert most_important(gaussians, 1000) is gaussians


def test_splats_on_a_map_are_sent_where_they_are(server):
    scene = scene_of_balls(views_of_balls())
    scene.frame = Frame(100.0, np.eye(3), FAR, "m")  # the balls are 100 m apart, on a map
    page = open_page(server, Content("balls", scene))
    node = page.splats.splats["/splats"]
    sent = page.frame.to_user(node.centers / UNITS)
    np.testing.assert_allclose(sent, scene.frame.to_user(balls().means), atol=0.01)
    sigma = np.sqrt(node.covariances[:, 0, 0]) / UNITS * page.frame.scale
    np.testing.assert_allclose(sigma, 100.0 * balls().scales[:, 0], rtol=2e-3)
    low, high = Content("balls", scene).bounds()
    assert (low < FAR + [-100, -20, 0]).any() and (high - low).max() < 300


def test_cleaning_is_undone_and_says_its_command(server, tmp_path):
    scene = scene_of_balls(views_of_balls())
    content = Content("balls", scene)
    page = open_page(server, content)
    gaussians = page_gaussians(scene, page.frame)
    assert gaussians is not None
    panel = CleaningPanel(page, gaussians, content.bounds(), tmp_path / "balls.spz")
    whole = len(gaussians)
    assert "1,200 of 1,200" in panel.said.content and panel.cleaning().crop is None
    panel.box[2].value = (0.7, panel.box[2].value[1])  # above the middle of the green ball alone
    panel._choose(panel.box[2])
    kept = page.splats.drawn
    assert kept is not None and page.frame.to_user(kept.means)[:, 2].min() >= 0.7
    assert len(kept) == (balls().means[:, 2] >= 0.7).sum()
    assert "--crop=-" in panel.command() and panel.command().startswith("relief convert")
    panel.opacity.value = 0.5
    panel._choose(panel.opacity)
    assert "--min-opacity=0.5" in panel.command()
    panel.undo()
    assert panel.opacity.value == 0.0 and len(page.splats.drawn) == len(kept)
    panel.undo()
    assert len(page.splats.drawn) == whole and panel.cleaning().crop is None
    panel.undo()  # nothing is left to undo
    assert len(page.splats.drawn) == whole


def test_the_box_moves_with_its_arrows(server, tmp_path):
    scene = scene_of_balls(views_of_balls())
    content = Content("balls", scene)
    page = open_page(server, content)
    panel = CleaningPanel(page, page_gaussians(scene, page.frame), content.bounds(), tmp_path / "balls.ply")
    panel.box[0].value = (-0.3, 0.3)  # between the left and the right ball
    panel._choose(panel.box[0])
    assert set(np.round(page.frame.to_user(page.splats.drawn.means)[:, 2])) <= {1.0, 0.0}
    corners = panel._corners()
    panel._move_box(corners.mean(0) + [0.9 / page.frame.scale, 0, 0])
    assert panel.box[0].value == pytest.approx((0.6, 1.2), abs=0.02)
    means = page.frame.to_user(page.splats.drawn.means)
    assert len(means) and (means[:, 0] > 0.55).all()


def test_an_exact_picture_shows_the_balls_with_their_depths():
    (center, radius, color), position = BALLS[1], np.array([0.9, -4.0, 0.0])
    matrix = look_at(position, center)
    wxyz = np.roll(Rotation.from_matrix(matrix[:3, :3].T).as_quat(), 1)
    camera = perspective(wxyz, position, 0.5, 120, 90)
    np.testing.assert_allclose(camera.world_to_camera, matrix, atol=1e-9)
    image, depth = still(balls(), camera, 1.0)
    np.testing.assert_allclose(image[45, 60] / 255, color, atol=0.05)
    assert depth[45, 60, 0] == pytest.approx(4.0 - radius, abs=0.15)
    assert (image[88, 60] == 255).all() and depth[88, 60, 0] > 50


def test_a_file_of_splats_is_opened(tmp_path):
    write_splats(Scene(gaussians=balls()), tmp_path / "balls.ply")
    content = load(tmp_path / "balls.ply")
    assert content.scene.gaussians is not None and len(content.scene.gaussians) == 1200 and content.input is None
    low, high = content.bounds()
    assert low == pytest.approx([-1.3, -0.4, -0.4], abs=0.25) and high == pytest.approx([1.3, 0.4, 1.2], abs=0.25)


def test_an_orbit_goes_around_and_looks_at_the_middle():
    corners = np.array([[-1.4, -0.5, -0.5], [1.4, 0.5, 1.35]])
    middle = corners.mean(0)
    path = orbit(corners, (0, 0, 1), cameras_around(8), 12, (64, 48))
    places = np.array([camera.position for camera in path])
    np.testing.assert_allclose(places[:, 2], 1.6, atol=1e-9)  # as high as the photos
    np.testing.assert_allclose(np.linalg.norm((places - middle)[:, :2], axis=1), 5.0, rtol=0.01)
    for camera in path:
        np.testing.assert_allclose(camera.project(middle[None])[0][0], (32, 24), atol=1e-6)
    free = orbit(corners, (0, 0, 1), [], 12, (64, 48))
    box = np.stack(np.meshgrid(*corners.T), -1).reshape(-1, 3)
    for camera in free:
        seen = camera.project(box)[0]
        assert (seen > -1).all() and (seen < (65, 49)).all()


def test_a_path_along_photos_passes_where_they_were_taken():
    photos = cameras_around(5)
    path = along(photos, 9, (96, 72))
    for number, photo in enumerate(photos):
        np.testing.assert_allclose(path[2 * number].world_to_camera, photo.world_to_camera, atol=1e-9)
        np.testing.assert_allclose(path[2 * number].intrinsics, photo.intrinsics, rtol=1e-9)


def test_photos_without_cameras_cannot_be_shown_and_it_is_said(tmp_path):
    from PIL import Image

    for number in range(3):
        Image.fromarray(np.full((40, 60, 3), 50 * number, np.uint8)).save(tmp_path / f"{number}.jpg")
    with pytest.raises(UserError, match="have no cameras yet; `reconstruct"):
        load(tmp_path)


def test_the_live_page_shows_splats_while_they_are_trained():
    views = views_of_balls()
    page = LivePreview("balls", views, port=0)
    try:
        page.show_scene(scene_of_balls(views))
        deadline = time.monotonic() + 60
        while "/splats" not in page.page.splats.splats and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(page.page.splats.splats["/splats"].centers) == 1200
        assert len(page.page.input.frusta) == 10
    finally:
        page.close()
