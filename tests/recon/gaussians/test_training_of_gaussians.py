"""The parts of the training of Gaussians, each against a slow version or a fact that it must keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from recon.gaussians.density import ByError, ByRelocation, morton_order, rotation_matrices
from recon.gaussians.exposure import Exposures
from recon.gaussians.initialization import camera_extent, far_points, frame_of, gaussians_at
from recon.gaussians.model import Gaussians
from recon.gaussians.optimizer import VisibleAdam
from recon.gaussians.photometric import photometric_loss, ssim_map
from recon.gaussians.schedule import Schedule
from recon.gaussians.targets import Targets, are_cutouts, averaged
from recon.gaussians.tensors import to_gaussians, to_splats
from recon.inputs import PointCloud, View, Views
from recon.scene import Frame
from render.cameras import Camera, look_at
from render.splats import Splats, rasterize

RATES = {"means": 0.1, "log_scales": 0.2, "quaternions": 0.3, "opacity_logits": 0.4, "sh_dc": 0.5, "sh_rest": 0.6}


def camera(eye, size: int = 64, target=(0, 0, 0)) -> Camera:
    lens = np.array([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1.0]])
    return Camera(look_at(eye, target), lens, size, size)


def some_gaussians(count: int, seed: int = 0) -> Gaussians:
    rng = np.random.default_rng(seed)
    gaussians = gaussians_at(rng.uniform(-0.6, 0.6, (count, 3)), rng.random((count, 3)), 3, True)
    gaussians.log_scales[:] += rng.normal(size=(count, 3)) * 0.5
    gaussians.quaternions[:] = rng.normal(size=(count, 4))
    gaussians.opacity_logits[:] = rng.normal(size=count)
    return gaussians


# --- loss ------------------------------------------------------------------------------------------------------------


def slow_loss(x: torch.Tensor, y: torch.Tensor, weight: float) -> torch.Tensor:
    """SSIM by a full 11 x 11 window, in float64."""
    taps = torch.exp(-(torch.arange(-5, 6, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    window = (taps[:, None] * taps / taps.sum() ** 2)[None, None]

    def windowed(values):
        return torch.nn.functional.conv2d(values.permute(2, 0, 1)[:, None], window, padding=5)

    mx, my = windowed(x), windowed(y)
    vx, vy, vxy = windowed(x * x) - mx**2, windowed(y * y) - my**2, windowed(x * y) - mx * my
    ssim = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    return (1 - weight) * (x - y).abs().mean() + weight * (1 - ssim.mean())


@pytest.mark.parametrize("shape", [(40, 53, 3), (7, 90, 3), (16, 4, 3)])
@pytest.mark.parametrize("differ", [np.s_[:], np.s_[2:6, 1:3], np.s_[3:, 2:], np.s_[:0]])
def test_the_loss_and_its_gradient_are_those_of_the_full_window(shape, differ):
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
    mixed = y.clone()
    mixed[differ] = 0.7 * y[differ] + 0.3 * x[differ]
    x = mixed.requires_grad_()
    exact = x.detach().double().requires_grad_()
    loss, wanted = photometric_loss(x, y, 0.2), slow_loss(exact, y.double(), 0.2)
    loss.backward()
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-6)
    assert (x.grad - exact.grad).norm() <= 1e-5 * exact.grad.norm() + 1e-9


def test_the_map_of_similarity_is_that_of_another_library():
    structural_similarity = pytest.importorskip("skimage.metrics").structural_similarity
    rng = np.random.default_rng(0)
    x = rng.random((48, 40, 3))
    y = np.clip(x + 0.1 * rng.normal(size=x.shape), 0, 1)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "truncate": 3.5}
    _, theirs = structural_similarity(x, y, channel_axis=2, data_range=1.0, full=True, **settings)
    ours = ssim_map(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    inside = np.s_[6:-6, 6:-6]  # the borders are treated otherwise there
    assert np.abs(ours[inside] - theirs[inside]).max() < 1e-5


# --- optimiser -------------------------------------------------------------------------------------------------------


def test_the_optimiser_is_adam_where_seen_and_leaves_the_rest():
    ours = to_splats(some_gaussians(50), trainable=True)
    theirs = [values.detach().clone().requires_grad_() for values in ours]
    groups = [{"params": [value], "lr": RATES.get(name, 0)} for name, value in zip(Splats._fields, theirs, strict=True)]
    adam = torch.optim.Adam(groups, eps=1e-15)
    optimizer = VisibleAdam(ours)
    before = to_gaussians(ours, True)
    visible = torch.arange(50) % 3 != 0
    generator = torch.Generator().manual_seed(0)
    rates = RATES | {"sh_dc": 0.5, "sh_rest": 0.5}
    groups[-1]["lr"] = adam.param_groups[-1]["lr"] = 0.5
    for i in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            other.grad = torch.randn(mine.shape, generator=generator)
            mine.grad = other.grad.clone()
        optimizer.step(ours, visible, rates, i, sh_degree=1)
        adam.step()
    for name, mine, other in zip(Splats._fields, ours, theirs, strict=True):
        seen = np.s_[visible] if name != "sh" else np.s_[visible, :4]
        assert torch.allclose(mine[seen], other[seen], atol=1e-4), name
        assert np.array_equal(mine[~visible].detach().numpy(), getattr(before, name)[~visible.numpy()])
    assert np.array_equal(ours.sh[:, 4:].detach().numpy(), before.sh[:, 4:])


# --- density ---------------------------------------------------------------------------------------------------------


def mass_mean_covariance(splats: Splats) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of a mixture: the Gaussians weighted by opacity times volume."""
    scales = splats.log_scales.exp().double()
    weights = torch.sigmoid(splats.opacity_logits).double() * scales.prod(1)
    axes = rotation_matrices(splats.quaternions).double()
    covariances = torch.einsum("nij,nj,nkj->nik", axes, scales**2, axes)
    mean = (weights[:, None] * splats.means).sum(0) / weights.sum()
    offsets = splats.means - mean
    total = covariances + offsets[:, :, None] * offsets[:, None]
    return weights.sum(), mean, (weights[:, None, None] * total).sum(0) / weights.sum()


def test_two_halves_have_the_mass_the_mean_and_the_covariance_of_the_whole():
    gaussians = some_gaussians(10)
    before = mass_mean_covariance(to_splats(gaussians))
    halves, _ = ByError().change(to_splats(gaussians), lambda: torch.arange(10.0), 13, np.random.default_rng(0))
    assert len(halves.means) == 13
    for ours, wanted in zip(mass_mean_covariance(halves), before, strict=True):
        assert torch.allclose(ours, wanted, rtol=1e-5, atol=1e-7)


def test_where_all_are_faint_one_stays_to_go_on_with():
    gaussians = some_gaussians(5)
    gaussians.opacity_logits[:] = -8
    changed, _ = ByError().change(to_splats(gaussians), lambda: torch.ones(5), 5, np.random.default_rng(0))
    assert len(changed.means) == 1


def test_growth_halves_those_with_the_largest_errors_removes_the_faint_and_keeps_to_the_number():
    gaussians = some_gaussians(100)
    gaussians.opacity_logits[:10] = np.log(0.02 / 0.98)
    changed, rows = ByError().change(to_splats(gaussians), lambda: torch.arange(100.0), 105, np.random.default_rng(0))
    assert len(changed.means) == 105 and not (rows.source < 10).any()
    twice = torch.bincount(rows.source, minlength=100) == 2
    assert twice.nonzero()[:, 0].tolist() == list(range(85, 100))
    assert rows.fresh.sum() == 30 and torch.equal(rows.fresh, twice[rows.source])
    untouched = ~rows.fresh
    assert np.array_equal(changed.sh[untouched].numpy(), gaussians.sh[rows.source[untouched]])


def test_relocated_gaussians_leave_the_picture_about_as_it_is():
    gaussians = some_gaussians(60, seed=3)
    gaussians.opacity_logits[:] -= 1.0
    gaussians.opacity_logits[:3] = -9
    before = to_splats(gaussians)
    changed, rows = ByRelocation().change(before, lambda: torch.zeros(60), 62, np.random.default_rng(0))
    assert len(changed.means) == 62 and not (rows.source < 3).any()
    assert (torch.sigmoid(changed.opacity_logits) > 0.005).all()
    seen = camera((0, -4, 0.5))
    view, lens = (torch.tensor(matrix, dtype=torch.float32) for matrix in (seen.world_to_camera, seen.intrinsics))
    pictures = [rasterize(splats, view, lens, 64, 64).color for splats in (before, changed)]
    copied = Splats(*(values[rows.source] for values in before))
    naive = rasterize(copied, view, lens, 64, 64).color
    error = (pictures[1] - pictures[0]).square().mean()
    assert error < 0.1 * (naive - pictures[0]).square().mean()


def test_morton_order_keeps_neighbours_together():
    points = torch.rand(4096, 3, generator=torch.Generator().manual_seed(0))
    order = morton_order(points)
    assert torch.equal(order.sort().values, torch.arange(4096))
    steps = points[order].diff(dim=0).norm(dim=1).mean()
    assert steps < 0.25 * points.diff(dim=0).norm(dim=1).mean()


# --- targets and exposure --------------------------------------------------------------------------------------------


def test_smaller_pictures_are_what_a_camera_with_larger_pixels_takes():
    eye = camera((0, -4, 0.5), 66)
    splats = to_splats(some_gaussians(40))

    def taken(one: Camera) -> np.ndarray:
        view, lens = (torch.tensor(matrix, dtype=torch.float32) for matrix in (one.world_to_camera, one.intrinsics))
        return rasterize(splats, view, lens, one.width, one.height, antialiased=True).color.clamp(0, 1).numpy()

    image = np.rint(255 * taken(eye)).astype(np.uint8)
    targets = Targets([View("a", eye, lambda: image)], Frame(), 1600, "cpu")
    small = targets.at(0, 4)
    assert small.image.shape == (16, 16, 3)
    seen = Camera(small.world_to_camera.double().numpy(), small.intrinsics.double().numpy(), 16, 16)
    assert np.abs(taken(seen) - small.over(torch.zeros(3)).numpy()).mean() < 0.02
    assert Targets([View("a", eye, lambda: image)], Frame(), 33, "cpu").at(0, 1).image.shape == (33, 33, 3)


def silhouettes(radius: float, count: int = 12) -> list[np.ndarray]:
    """Of a rod that turns before a standing camera."""
    v, u = np.mgrid[:60, :80] - np.array([30, 40])[:, None, None]
    turns = np.linspace(0, np.pi, count, endpoint=False)
    return [
        (np.abs(u * np.cos(a) + v * np.sin(a)) < radius) & (np.abs(v * np.cos(a) - u * np.sin(a)) < 4 * radius)
        for a in turns
    ]


def test_masks_around_a_thing_are_told_from_those_that_leave_out_what_disturbs():
    cutouts, rng = silhouettes(5), np.random.default_rng(0)
    v, u = np.mgrid[:60, :80]
    assert are_cutouts(cutouts) and are_cutouts(silhouettes(1))
    close = [np.roll(mask, 25, axis=1) if k < 6 else mask for k, mask in enumerate(silhouettes(3))]
    assert are_cutouts(close)  # half of the photos cut a part of the thing off
    passers = [~np.roll(mask, rng.integers(-40, 40), axis=1) for mask in cutouts]
    circle, bonnet = np.hypot(u - 40, v - 30) < 28, v < 45
    for others in (passers, [circle] * 12, [bonnet] * 12, [np.zeros((60, 80), bool)] * 12, [~circle & bonnet] * 12):
        assert not are_cutouts(others)
    assert not are_cutouts([mask & (v < 50) for mask in passers])


def test_a_thing_cut_out_lies_on_nothing_but_the_outline_of_its_mask_is_left_open():
    eye, (mask, *_) = camera((0, -4, 0.5), 60), silhouettes(5)
    mask, image = mask[:, 10:70], np.full((60, 60, 3), 90, np.uint8)
    target = Targets([View("a", eye, lambda: image, lambda: mask)], Frame(), 1600, "cpu", "empty").at(0, 1)
    assert target.mask is not None
    wanted, known = target.over(torch.tensor([1.0, 0, 0])).numpy(), target.mask.numpy()
    assert np.allclose(wanted[mask], 90 / 255) and np.allclose(wanted[~mask], (1, 0, 0))
    assert np.array_equal(known, mask | ~binary_dilation(mask, np.ones((3, 3))))


def test_colours_weigh_as_much_as_their_alpha_when_pictures_are_made_smaller():
    image = np.zeros((2, 2, 4), np.uint8)
    image[0, 0] = (200, 100, 0, 255)
    image[0, 1] = (0, 0, 200, 85)
    assert averaged(image, 2)[0, 0].tolist() == [150, 75, 50, 85]


def test_how_exposures_of_photos_differ_is_found_and_their_mean_is_none():
    change = torch.tensor([[0.2, 0.05, 0, 0.03], [0, -0.1, 0, -0.02], [0, 0.1, 0.1, 0]])
    identity = torch.eye(3, 4)
    colors = torch.rand(20, 20, 3, generator=torch.Generator().manual_seed(0))
    exposures = Exposures(2, "cpu")
    for i in range(1200):
        truth = identity + (change if i % 2 else -change)
        wanted = colors @ truth[:, :3].T + truth[:, 3]
        (exposures.applied(i % 2, colors) - wanted).square().mean().backward()
        exposures.step(i % 2, 5e-3 * (1 - i / 1200))
    assert torch.allclose(exposures.maps[1], identity + change, atol=0.02)
    assert torch.allclose(exposures.maps.mean(0), identity, atol=1e-6)


# --- beginning and schedule ------------------------------------------------------------------------------------------


def ring(count: int = 12, radius: float = 4.0) -> list[Camera]:
    angles = 2 * np.pi * np.arange(count) / count
    return [camera((radius * math.cos(a), radius * math.sin(a), 1.5), target=(0, 0, 0.2)) for a in angles]


def test_the_frame_holds_what_the_cameras_look_at_or_the_points():
    cameras = ring()
    views = Views(tuple(View(str(k), one, lambda: np.zeros((64, 64, 3), np.uint8)) for k, one in enumerate(cameras)))
    frame = frame_of(views, cameras)
    assert np.allclose(frame.translation, (0, 0, 0.2), atol=1e-6)
    assert frame.scale == pytest.approx(np.hypot(4, 1.3) / 2.4, rel=1e-6)
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(3, 5, (1000, 3)), rng.uniform(-500, 500, (10, 3))])
    frame = frame_of(Views(views.views, points=PointCloud(points)), cameras)
    assert np.allclose(frame.translation, 4, atol=0.2) and 0.8 < frame.scale < 1.2


def test_gaussians_begin_as_large_as_the_distance_of_their_neighbours_and_in_their_colours():
    lattice = np.stack(np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    colors = np.random.default_rng(0).random(lattice.shape)
    gaussians = gaussians_at(lattice, colors, 2, True)
    assert np.allclose(gaussians.scales, 1) and np.allclose(gaussians.opacities, 0.1)
    assert np.allclose(0.5 + 0.28209479 * gaussians.sh[:, 0], colors, atol=1e-6) and gaussians.sh_degree == 2


def test_the_background_begins_behind_everything_and_in_view():
    cameras = ring()
    up = np.array([0.0, 0, 1])
    points, _ = far_points(300, cameras, up, np.random.default_rng(0))
    assert 0 < len(points) < 150 and (np.linalg.norm(points, axis=1) > np.sqrt(3)).all()
    assert (points[:, 2] > min(camera.position[2] for camera in cameras)).all()  # above the horizon
    downwards = [camera((0, 0.01, 4.0), target=(0, 0, 0))]
    assert not len(far_points(300, downwards, up, np.random.default_rng(0))[0])
    inside = np.zeros(len(points), bool)
    for one in cameras:
        pixels, depth = one.project(points)
        inside |= (depth > 0) & (np.abs(pixels - 32) <= 32).all(1)
    assert inside.all()
    assert camera_extent(cameras) == pytest.approx(4.4)


def test_the_schedule_ends_at_full_size_with_the_whole_budget():
    schedule = Schedule(2000, 30_000, 3, 1.0, 400)
    assert [schedule.factor(i, 4000) for i in (0, 800, 1999)] == [4, 2, 1] and schedule.degree(1999) == 3
    count, events = 4000, [i for i in range(2000) if schedule.grows(i)]
    on_whole_pictures = 0
    for i in events:
        grown = schedule.wanted(i, count)
        assert count <= grown <= 30_000
        on_whole_pictures += (grown - count) * (schedule.factor(i, count) == 1)
        count = grown
    assert count == 30_000 and events[-1] <= 1600 and on_whole_pictures > 15_000
    long = schedule._replace(steps=30_000)
    assert long.rates(0)["opacity_logits"] == pytest.approx(0.05) and long.rates(29_999)["opacity_logits"] < 0.006
    assert schedule.rates(0)["means"] > long.rates(0)["means"] == pytest.approx(1.6e-4)
    assert Schedule(100, 10, 3, 1.0, 90).factor(0, 10) == 1 and Schedule(100, 10, 3, 1.0, 200).factor(0, 10) == 2


def test_pictures_grow_with_the_number_of_gaussians_that_began_at_random():
    schedule = Schedule(2000, 30_000, 3, 1.0, 256, at_random=True)
    assert [schedule.factor(i, 10_000) for i in (0, 60)] == [4, 4]  # nothing is learned yet
    assert [schedule.factor(300, count) for count in (1000, 1100, 4000, 4200)] == [4, 2, 2, 1]
    assert [schedule.factor(i, 1000) for i in (500, 1100)] == [2, 1]  # at the latest
    assert schedule._replace(at_random=False).factor(300, 10_000) == 4
