"""Gaussian splats from views: scenes of known Gaussians are found again from their own pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy.spatial import KDTree

from recon.errors import UserError
from recon.gaussians.evaluation import scene_cameras
from recon.gaussians.initialization import gaussians_at
from recon.gaussians.model import Gaussians
from recon.gaussians.tensors import to_splats
from recon.image_metrics import likeness
from recon.inputs import PointCloud, View, Views
from recon.methods.splats import SplatsConfig, estimate, fit_to_minutes, gaussian_stage, splats
from recon.scene import Scene
from recon.training import Stage, Trainer
from render.cameras import Camera, look_at
from render.splats import render_image
from tests.killing import assert_killed_runs_end_with_the_same_bits

ROOT = Path(__file__).resolve().parents[3]
SIZE = 96
QUICK = SplatsConfig(steps=800, gaussians=600, far_points=0, exposure=False)


def blobs(count: int = 40, seed: int = 0) -> Gaussians:
    """Opaque Gaussians of different shapes and colours in a ball of radius 1 around (5, 0, 0)."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(count, 3))
    places *= rng.random((count, 1)) ** (1 / 3) / np.linalg.norm(places, axis=1, keepdims=True)
    gaussians = gaussians_at(places + [5, 0, 0], rng.random((count, 3)), 0, True)
    gaussians.log_scales[:] = np.log(rng.uniform(0.05, 0.16, (count, 3)))
    gaussians.quaternions[:] = rng.normal(size=(count, 4))
    gaussians.opacity_logits[:] = 3
    return gaussians


def photographed(gaussians: Gaussians, count: int = 20, alpha: bool = True, size: int = SIZE) -> Views:
    """Pictures of the Gaussians from around, over black or with alpha; the last four are held out."""
    pictures = []
    for k in range(count):
        turn, height = 2.4 * k, 3 * (k / (count - 1) - 0.5)
        eye = np.array([5 + 3.6 * np.cos(turn), 3.6 * np.sin(turn), height])
        lens = np.array([[1.4 * size, 0, size / 2], [0, 1.4 * size, size / 2], [0, 0, 1.0]])
        camera = Camera(look_at(eye, (5, 0, 0)), lens, size, size)
        picture = render_image(to_splats(gaussians), camera, antialiased=True)
        if alpha:
            picture[..., :3] /= np.maximum(picture[..., 3:], 1e-6)
        image = np.rint(255 * picture[..., : 4 if alpha else 3].clip(0, 1)).astype(np.uint8)
        pictures.append(View(f"{k:02d}.png", camera, lambda image=image: image, held_out=k >= count - 4))
    return Views(tuple(pictures))


def held_out_psnr(scene: Scene, views: Views) -> float:
    rendered = {one.name: one.rendered for one in scene.cameras if one.held_out}
    return float(np.mean([likeness(view, rendered[view.name])[0] for view in views.views if view.held_out]))


def test_known_gaussians_are_found_again_in_the_users_coordinates():
    truth = blobs()
    rng = np.random.default_rng(1)
    points = PointCloud(truth.means.astype(float) + 0.03 * rng.normal(size=(40, 3)))
    views = replace(photographed(truth), points=points)
    config = msgspec.structs.replace(QUICK, gaussians=60, sh_degree=0)
    scene = splats(views, config, Trainer())
    assert held_out_psnr(scene, views) > 30
    assert len(scene.gaussians) <= 60 and scene.gaussians.antialiased
    strong = scene.gaussians.opacities > 0.5
    distance = KDTree(scene.frame.to_user(scene.gaussians.means[strong])).query(truth.means)[0]
    assert np.median(distance) < 0.06
    cameras = [scene.frame.camera_to_user(one.camera) for one in scene.cameras]
    for view, camera in zip(views.views, cameras, strict=True):
        assert np.allclose(camera.world_to_camera, view.camera.world_to_camera)


@pytest.mark.slow
def test_from_random_points_growth_helps():
    views = photographed(blobs(120, seed=2))
    config = msgspec.structs.replace(QUICK, random_points=150, gaussians=1200, sh_degree=0)
    whole = held_out_psnr(splats(views, config, Trainer()), views)
    fixed = held_out_psnr(splats(views, msgspec.structs.replace(config, gaussians=150), Trainer()), views)
    assert whole > 33 and whole > fixed + 2


@pytest.mark.slow
def test_small_pictures_first_are_better_for_the_same_number_of_pixels():
    views = photographed(blobs(120, seed=2), size=160)
    config = msgspec.structs.replace(QUICK, random_points=150, gaussians=1200, sh_degree=0)
    small_first = held_out_psnr(splats(views, config, Trainer()), views)
    schedule = gaussian_stage(views, config, Trainer()).schedule
    shares = [schedule.factor(i, config.gaussians) ** -2.0 for i in range(config.steps)]
    assert min(shares) == 0.25
    config = msgspec.structs.replace(config, steps=int(sum(shares)))
    train = Trainer()
    stage = gaussian_stage(views, config, train)
    stage.schedule = stage.schedule._replace(progressive=False)
    gaussians = train(stage)
    scene = Scene(cameras=scene_cameras(gaussians, views, stage.frame, (1.0, 1.0, 1.0)))
    assert small_first > held_out_psnr(scene, views) + 1


def test_one_seed_gives_one_result_and_another_another():
    views = photographed(blobs(20))
    config = msgspec.structs.replace(QUICK, steps=60, random_points=200)
    first, second, other = (splats(views, config, Trainer(seed=seed)).gaussians for seed in (3, 3, 4))
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("means", "sh", "log_scales"))
    assert first.means.shape != other.means.shape or not np.array_equal(first.means, other.means)


def test_an_error_is_laid_to_the_gaussian_that_is_wrong_and_none_to_what_a_mask_leaves_out():
    truth = blobs()
    views = photographed(truth)
    stage = gaussian_stage(views, msgspec.structs.replace(QUICK, sh_degree=0), Trainer())
    into_frame = stage.frame.inverse()
    wrong = truth.transformed(into_frame.scale, into_frame.rotation, into_frame.translation)
    outermost = int(np.linalg.norm(wrong.means, axis=1).argmax())
    wrong.sh[outermost] += 1
    stage.splats = to_splats(wrong)
    errors = stage._errors(stage.steps - 1)
    assert int(errors.argmax()) == outermost and errors[outermost] > 5 * errors.sort().values[-2]
    nothing = np.zeros((SIZE, SIZE), bool)
    blind = Views(tuple(replace(view, mask=lambda: nothing) for view in views.views))
    stage = gaussian_stage(blind, QUICK, Trainer())
    assert not stage._errors(stage.steps - 1).any()


@pytest.mark.parametrize("density", ["error", "mcmc"])
def test_the_budget_of_gaussians_is_never_passed(density):
    views = photographed(blobs(20))
    config = msgspec.structs.replace(QUICK, steps=300, random_points=300, gaussians=350, density=density)
    stage = gaussian_stage(views, config, Trainer())
    assert isinstance(stage, Stage)
    counts = []
    for i in range(stage.steps):
        stage.step(i)
        counts.append(len(stage.splats.means))
        assert len(stage.optimizer.second.sh) == counts[-1]
    assert max(counts) <= 350 and len(set(counts)) > 1


@pytest.mark.slow
def test_what_a_mask_leaves_out_is_not_looked_at():
    truth = blobs()
    views = photographed(truth, alpha=False)
    damaged = []
    for view in views.views:
        image = view.image().copy()
        mask = np.ones((SIZE, SIZE), bool)
        mask[:, : SIZE // 3] = False
        image[~mask] = (255, 0, 255)
        damaged.append(replace(view, image=lambda image=image: image, mask=lambda mask=mask: mask))
    masked = replace(views, views=tuple(damaged), points=PointCloud(truth.means.astype(float)))
    config = msgspec.structs.replace(QUICK, steps=1200, gaussians=100, sh_degree=0)
    scene = splats(masked, config, Trainer())
    assert held_out_psnr(scene, masked) > 25
    unmasked = replace(masked, views=tuple(replace(view, mask=None) for view in masked.views))
    blind = splats(unmasked, config, Trainer())
    assert held_out_psnr(blind, masked) < held_out_psnr(scene, masked) - 2


def on_a_ball(radius: float, count: int, size: float) -> Gaussians:
    """Opaque Gaussians on the sphere around (5, 0, 0), their colours changing gently."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gaussians = gaussians_at(radius * directions + [5, 0, 0], 0.5 + 0.4 * np.sin(4 * directions), 0, True)
    gaussians.log_scales[:], gaussians.opacity_logits[:] = np.log(size), 5
    return gaussians


def joined(*parts: Gaussians) -> Gaussians:
    names = ("means", "log_scales", "quaternions", "opacity_logits", "sh")
    return Gaussians(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names}, antialiased=True)


def masked(views: Views, masks: list[np.ndarray]) -> Views:
    return Views(
        tuple(replace(view, mask=lambda mask=mask: mask) for view, mask in zip(views.views, masks, strict=True))
    )


def test_around_a_thing_that_masks_cut_out_nothing_is_left():
    thing, walls = on_a_ball(1, 400, 0.06), on_a_ball(6, 200, 0.6)
    alone = [view.image()[..., 3] / 255 for view in photographed(thing).views]
    views = masked(photographed(joined(thing, walls), alpha=False), [alpha > 0.5 for alpha in alone])
    config = msgspec.structs.replace(QUICK, steps=400, random_points=300, sh_degree=0)
    outside, likenesses = {}, {}
    for meaning in ("unknown", "auto"):
        scene = splats(views, msgspec.structs.replace(config, outside_masks=meaning), Trainer())
        likenesses[meaning] = held_out_psnr(scene, views)
        drawn = [
            render_image(to_splats(scene.gaussians), one.camera, antialiased=True)[..., 3] for one in scene.cameras
        ]
        outside[meaning] = np.mean([drawn[k][alone[k] < 0.01].mean() for k in range(16, 20)])
    assert outside["unknown"] > 0.1 and outside["auto"] < 0.005
    assert likenesses["auto"] > likenesses["unknown"]
    assert any("--outside-masks unknown" in note for note in scene.notes)


@pytest.mark.slow
def test_what_masks_hide_of_a_scene_is_not_taken_for_empty():
    views, rng = photographed(blobs(), alpha=False), np.random.default_rng(0)
    passers, damaged = [], []
    for view in views.views:
        mask, (top, left) = np.ones((SIZE, SIZE), bool), rng.integers(SIZE // 8, SIZE // 2, 2)
        mask[top:, left : left + SIZE // 4] = False
        image = np.where(mask[..., None], view.image(), [255, 0, 255]).astype(np.uint8)
        damaged.append(view if view.held_out else replace(view, image=lambda image=image: image))
        passers.append(mask | bool(view.held_out))
    views = masked(Views(tuple(damaged)), passers)
    config = msgspec.structs.replace(QUICK, random_points=300, sh_degree=0)
    found = {
        meaning: splats(views, msgspec.structs.replace(config, outside_masks=meaning), Trainer())
        for meaning in ("auto", "unknown", "empty")
    }
    assert np.array_equal(found["auto"].gaussians.means, found["unknown"].gaussians.means)
    assert held_out_psnr(found["auto"], views) > held_out_psnr(found["empty"], views) + 3


@pytest.mark.parametrize(("background", "error"), [("white", 0.03), ("random", 0.012)])
def test_what_is_transparent_in_the_photos_stays_empty(background, error):
    truth = blobs()
    views = replace(photographed(truth), points=PointCloud(truth.means.astype(float)))
    config = msgspec.structs.replace(QUICK, steps=1200, gaussians=100, sh_degree=0, background=background)
    scene = splats(views, config, Trainer())
    camera = scene.cameras[-1].camera
    alpha = render_image(to_splats(scene.gaussians), camera, antialiased=True)[..., 3]
    known = views.views[-1].image()[..., 3] / 255
    assert np.abs(alpha - known).mean() < error


@pytest.mark.slow
def test_photos_of_different_brightness_are_matched_by_exposure():
    truth = blobs()
    views = photographed(truth, alpha=False)
    rng = np.random.default_rng(0)
    dimmed = []
    for view in views.views:
        gain = 1.0 if view.held_out else rng.uniform(0.6, 1.0)
        image = np.rint(view.image() * gain).astype(np.uint8)
        dimmed.append(replace(view, image=lambda image=image: image))
    varied = replace(views, views=tuple(dimmed), points=PointCloud(truth.means.astype(float)))
    config = msgspec.structs.replace(QUICK, steps=1200, gaussians=100, sh_degree=0)
    losses = {}
    for exposure in (False, True):
        train = Trainer()
        splats(varied, msgspec.structs.replace(config, exposure=exposure), train)
        losses[exposure] = np.mean([value for _, value in train.records[-1].losses["photometric"][-50:]])
    assert losses[True] < 0.75 * losses[False]


KILLED = """
import sys
from dataclasses import replace
import msgspec, numpy as np
from pathlib import Path
from recon.image_metrics import likeness
from recon.inputs import PointCloud
from recon.training import Trainer
from recon.methods.splats import splats, gaussian_stage
from tests.recon.methods.test_splats import QUICK, blobs, photographed

config = msgspec.structs.replace(QUICK, steps=240, random_points=200, exposure=True, density="{density}")
views = photographed(blobs(20), 8, alpha=False)
train = Trainer(Path(sys.argv[1]), checkpoint_seconds=0)
stage = gaussian_stage(views, config, train)
step = stage.step

def told(i):
    losses = step(i)
    print(i + 1, flush=True)
    return losses

stage.step = told
train(stage)
np.savez(sys.argv[2], **stage.state_dict())
"""


@pytest.mark.slow
@pytest.mark.parametrize("density", ["error", "mcmc"])
def test_a_killed_training_ends_with_the_bits_of_an_unbroken_one(tmp_path, monkeypatch, density):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert_killed_runs_end_with_the_same_bits(KILLED.replace("{density}", density), tmp_path, 240, 20, 60)


def test_a_stage_goes_on_from_its_state_as_if_it_had_never_stopped():
    views = photographed(blobs(20), 8, alpha=False)
    config = msgspec.structs.replace(QUICK, steps=160, random_points=200, exposure=True)
    unbroken = gaussian_stage(views, config, Trainer())
    for i in range(100):
        unbroken.step(i)
    resumed = gaussian_stage(views, config, Trainer())
    resumed.load_state_dict({name: array.copy() for name, array in unbroken.state_dict().items()})
    for i in range(100, 160):
        assert unbroken.step(i) == resumed.step(i)
    ours, theirs = resumed.state_dict(), unbroken.state_dict()
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_time_gives_steps_and_gaussians_and_the_cost_agrees():
    views = photographed(blobs(20))
    short, long = (fit_to_minutes(views, SplatsConfig(), "cpu", minutes) for minutes in (0.2, 5))
    assert short.steps < long.steps and short.gaussians <= long.gaussians <= SplatsConfig().gaussians
    assert 4 < estimate(views, short, "cpu").seconds < 24
    assert estimate(views, SplatsConfig(), "cpu").megabytes < 1000


def test_few_photos_are_not_learned_from_more_often_than_is_good():
    views = photographed(blobs(20), 10)
    stage = gaussian_stage(views, msgspec.structs.replace(QUICK, steps=5000), Trainer())
    assert stage.steps == 6 * SplatsConfig().steps_a_photo
    assert fit_to_minutes(views, SplatsConfig(), "cpu", 60).steps <= stage.steps
    whole, capped = (SplatsConfig(steps=steps) for steps in (50_000, stage.steps))
    assert estimate(views, whole, "cpu").seconds < 2 * estimate(views, capped, "cpu").seconds


def test_too_few_views_are_refused_in_a_sentence():
    views = photographed(blobs(20), 5)
    with pytest.raises(UserError, match="--method splats: 1 view is left to train on; at least 2 are needed"):
        splats(views, QUICK, Trainer())
