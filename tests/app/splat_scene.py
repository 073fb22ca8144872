"""A scene of known splats for tests: three opaque balls of one colour each, and photos of them from all around."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from recon.gaussians.model import Gaussians
from recon.gaussians.tensors import to_splats
from recon.inputs import PointCloud, View, Views
from recon.scene import Frame, Scene, SceneCamera
from render.cameras import Camera, look_at
from render.splats import render_image

RED, GREEN, BLUE, WHITE = (0.8, 0.1, 0.1), (0.1, 0.7, 0.2), (0.1, 0.2, 0.8), (1.0, 1.0, 1.0)
BALLS = (((-0.9, 0.0, 0.0), 0.5, RED), ((0.9, 0.0, 0.0), 0.5, BLUE), ((0.0, 0.0, 1.0), 0.35, GREEN))  # Z is up
DC = 0.28209479177387814


def balls(a_ball: int = 400) -> Gaussians:
    """The balls as small round splats on their surfaces, which hide what lies behind."""
    rng = np.random.default_rng(5)
    means, sigmas, colors = [], [], []
    for center, radius, color in BALLS:
        directions = rng.normal(size=(a_ball, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        sigma = 2.2 * radius / np.sqrt(a_ball)
        means.append(np.array(center) + (radius - 2 * sigma) * directions)
        sigmas.append(np.full((a_ball, 3), sigma))
        colors.append(np.tile(color, (a_ball, 1)))
    count = 3 * a_ball
    return Gaussians(
        means=np.concatenate(means).astype(np.float32),
        log_scales=np.log(np.concatenate(sigmas)).astype(np.float32),
        quaternions=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        opacity_logits=np.full(count, 4.0, np.float32),
        sh=((np.concatenate(colors) - 0.5) / DC).astype(np.float32)[:, None],
    )


def cameras_around(count: int, width: int = 96, height: int = 72) -> list[Camera]:
    """Cameras on a ring, a little above the balls, that look at them."""
    turns = 2 * np.pi * np.arange(count) / count
    intrinsics = np.array([[1.2 * width, 0, width / 2], [0, 1.2 * width, height / 2], [0, 0, 1]])
    places = [(5 * np.cos(turn), 5 * np.sin(turn), 1.6) for turn in turns]
    return [Camera(look_at(place, (0, 0, 0.2)), intrinsics, width, height) for place in places]


def photo(camera: Camera) -> np.ndarray:
    """The balls on white, 8-bit sRGB."""
    return np.rint(255 * render_image(to_splats(balls()), camera, WHITE)[..., :3]).astype(np.uint8)


def cut_out(camera: Camera) -> np.ndarray:
    """The balls as 8-bit sRGB with straight alpha."""
    picture = render_image(to_splats(balls()), camera)
    picture[..., :3] /= np.maximum(picture[..., 3:], 1e-6)
    return np.rint(255 * picture.clip(0, 1)).astype(np.uint8)


def views_of_balls(count: int = 10) -> Views:
    """Photos of the balls, every fifth held out by the input itself, with a few points on the balls."""
    cameras = cameras_around(count)
    views = tuple(
        View(f"images/{n:02d}.png", camera, lambda camera=camera: photo(camera), held_out=n % 5 == 0)
        for n, camera in enumerate(cameras)
    )
    some = balls(60)
    colors = np.rint(255 * np.clip(0.5 + DC * some.sh[:, 0], 0, 1)).astype(np.uint8)
    return Views(views, PointCloud(some.means.astype(np.float64), colors=colors, unit="m"), unit="m")


def scene_of_balls(views: Views, brighter: float = 0.0) -> Scene:
    """What a method would make of the views: the balls, and held-out views as rendered, `brighter` on the right."""

    def rendered(view: View, extra: float) -> np.ndarray:
        picture = view.image().astype(np.float64)
        picture[:, picture.shape[1] // 2 :] += 255 * extra
        return np.clip(picture, 0, 255).astype(np.uint8)

    cameras = tuple(
        SceneCamera(
            view.name, view.camera, bool(view.held_out), rendered(view, brighter * n) if view.held_out else None
        )
        for n, view in enumerate(views.views)
    )
    return Scene(gaussians=balls(), cameras=cameras, frame=Frame(unit=views.unit, up=views.up))


def write_photos_with_cameras(folder: Path, count: int = 10) -> Path:
    """The photos and a transforms.json beside them, every fifth photo named as for tests."""
    (folder / "images").mkdir(parents=True)
    frames, opengl = [], np.diag([1.0, -1.0, -1.0, 1.0])
    cameras = cameras_around(count)
    for n, camera in enumerate(cameras):
        name = f"images/{n:02d}.png"
        Image.fromarray(cut_out(camera)).save(folder / name)
        pose = np.linalg.inv(camera.world_to_camera) @ opengl
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    lens = cameras[0].intrinsics
    names = [frame["file_path"] for frame in frames]
    whole = {
        "w": cameras[0].width,
        "h": cameras[0].height,
        "fl_x": lens[0, 0],
        "fl_y": lens[1, 1],
        "cx": lens[0, 2],
        "cy": lens[1, 2],
        "frames": frames,
        "train_filenames": [name for n, name in enumerate(names) if n % 5],
        "val_filenames": [],
        "test_filenames": names[::5],
    }
    (folder / "transforms.json").write_text(json.dumps(whole))
    return folder
