"""Depth from neighbouring photos, on exact pictures of a table that stands on textured ground."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from recon.gaussians.initialization import frame_of
from recon.gaussians.stereo import DepthStage
from recon.gaussians.targets import Targets
from recon.image_metrics import likeness
from recon.inputs import PointCloud, View, Views
from recon.methods.splats import SplatsConfig, splats
from recon.scene import Frame
from recon.training import Interrupted, Trainer
from render.cameras import Camera, look_at

HALF, HEIGHT = 0.4, 0.5  # of the table's top
SIZE = (160, 120)
WAVES = np.random.default_rng(7).normal(size=(60, 6))


def texture(points: np.ndarray) -> np.ndarray:
    """Waves in all directions, the shortest some pixels long."""
    phases = 14 * points @ WAVES[:, :3].T
    return 0.5 + 0.03 * np.cos(phases) @ WAVES[:, 3:] / WAVES[:, 3:].std()


def taken(camera: Camera, gain: float = 1.0) -> np.ndarray:
    """What the camera sees of the ground z = 0 and of the top at z = HEIGHT over the square |x|, |y| <= HALF."""
    origin, rays = camera.rays()
    top, ground = (origin + rays * ((z - origin[:, 2:]) / rays[:, 2:]) for z in (HEIGHT, 0.0))
    on_top = np.all(np.abs(top[:, :2]) <= HALF, axis=1)
    colors = gain * texture(np.where(on_top[:, None], top, ground))
    return np.rint(255 * colors.clip(0, 1)).reshape(camera.height, camera.width, 3).astype(np.uint8)


def photos(count: int, held_out: tuple[int, ...] = (), gains: tuple[float, ...] = ()) -> Views:
    """Photos from a row high above; known points are on the ground alone."""
    pictures = []
    for k in range(count):
        x = 2.0 * (k / (count - 1) - 0.5)
        lens = np.array([[1.2 * SIZE[0], 0, SIZE[0] / 2], [0, 1.2 * SIZE[0], SIZE[1] / 2], [0, 0, 1.0]])
        camera = Camera(look_at((x, -0.8, 3.0), (0.6 * x, 0, 0), (0, 1, 0)), lens, *SIZE)
        image = taken(camera, gains[k] if gains else 1.0)
        pictures.append(View(f"{k}.png", camera, lambda image=image: image, held_out=k in held_out))
    ground = np.random.default_rng(0).uniform(-1.2, 1.2, (80, 3)) * (1, 1, 0)
    ground = ground[(np.abs(ground[:, :2]) > HALF).any(1)]
    colors = np.rint(255 * texture(ground)).astype(np.uint8)
    return Views(tuple(pictures), points=PointCloud(ground, colors=colors))


def stage_of(views: Views, most: int = 10**6) -> tuple[DepthStage, Frame]:
    frame = frame_of(views, [view.camera for view in views.views])
    assert views.points is not None
    known = frame.from_user(views.points.points)
    return DepthStage(Targets(views.views, frame, 1600, "cpu"), known, most, 0), frame


def found_points(views: Views, most: int = 10**6) -> tuple[np.ndarray, np.ndarray]:
    stage, frame = stage_of(views, most)
    points, colors = Trainer()(stage)
    return frame.to_user(points), colors


def distance_to_surface(points: np.ndarray) -> np.ndarray:
    beyond = np.maximum(np.abs(points[:, :2]) - HALF, 0)
    return np.minimum(np.abs(points[:, 2]), np.hypot(np.linalg.norm(beyond, axis=1), points[:, 2] - HEIGHT))


def test_points_lie_on_what_the_photos_show_also_where_none_were_known():
    points, colors = found_points(photos(5, gains=(1.0, 0.9, 1.1, 0.9, 1.0)))
    assert len(points) > 0.6 * 5 * SIZE[0] * SIZE[1]
    distances = distance_to_surface(points)
    assert np.median(distances) < 0.01 and np.quantile(distances, 0.9) < 0.05
    assert np.mean(points[:, 2] > 0.9 * HEIGHT) > 0.05
    assert np.abs(colors - texture(points)).mean() < 0.5 * texture(points).std()


def test_what_a_mask_leaves_out_has_no_points():
    views = photos(5)
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[:, : SIZE[0] // 2] = True
    points, _ = found_points(replace(views, views=tuple(replace(view, mask=lambda: mask) for view in views.views)))
    seen = np.zeros(len(points), bool)
    for view in views.views:
        pixels, _ = view.camera.project(points)
        seen |= pixels[:, 0] <= SIZE[0] // 2 + 1
    assert len(points) > 1000 and seen.all()


def test_photos_without_a_neighbour_give_no_points_and_no_more_come_than_are_asked_for():
    views = photos(5)
    same = tuple(replace(view, camera=views.views[0].camera, image=views.views[0].image) for view in views.views)
    points, colors = found_points(replace(views, views=same))
    assert points.shape == colors.shape == (0, 3)
    assert len(found_points(views, 100)[0]) == 100


def test_depths_that_were_found_before_an_interruption_are_not_looked_for_again(tmp_path):
    views = photos(5)
    stage, _ = stage_of(views)
    stop = Trainer(tmp_path)
    stage.step, step = lambda i: (stop.request_stop() if i == 2 else None, step(i))[1], stage.step
    with pytest.raises(Interrupted):
        stop(stage)
    again, _ = stage_of(views)
    looked_at, again_step = [], again.step
    again.step = lambda i: (looked_at.append(i), again_step(i))[1]
    points, colors = Trainer(tmp_path)(again)
    assert looked_at == [3, 4]
    whole = Trainer()(stage_of(views)[0])
    assert np.array_equal(points, whole[0]) and np.array_equal(colors, whole[1])


def held_out_psnr(views: Views, config: SplatsConfig) -> float:
    rendered = {one.name: one.rendered for one in splats(views, config, Trainer()).cameras if one.rendered is not None}
    return float(np.mean([likeness(view, rendered[view.name])[0] for view in views.views if view.held_out]))


@pytest.mark.slow
def test_few_photos_are_seen_right_from_between_where_surfaces_are_known_before():
    views = photos(7, held_out=(1, 3, 5))
    config = SplatsConfig(steps=400, gaussians=4000, far_points=0)
    whole = held_out_psnr(views, config)
    assert whole > 30 and whole > held_out_psnr(views, msgspec.structs.replace(config, stereo=False)) + 2
