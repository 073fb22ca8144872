"""What a training takes, told beforehand; and which training a given time suits.

A step costs a fixed amount, more for every Gaussian and more for every pixel, and each photo costs its depths. The
constants below were fitted to trainings on one machine, of which they tell most to a tenth. What they are on this one
is found out by timing a small job whose cost in them is known.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch

from recon.gaussians.initialization import gaussians_at, points_at_random
from recon.gaussians.photometric import photometric_loss
from recon.gaussians.schedule import Schedule
from recon.gaussians.stereo import MOST_PHOTOS
from recon.gaussians.tensors import to_splats
from recon.inputs import View
from recon.methods.splats import KNOWN
from render.cameras import look_at
from render.splats import rasterize

if TYPE_CHECKING:
    from recon.methods.splats import SplatsConfig

SECONDS_A_STEP = 1.4e-3
SECONDS_A_GAUSSIAN = 0.92e-6
SECONDS_A_PIXEL = 0.13e-6
SECONDS_A_DEPTH = 0.8  # of a photo
SECONDS_OF_JOB = 0.0205  # on the machine on which the constants hold
JOB = (5_000, 192)  # Gaussians, and pixels along each side
RANDOM_KEPT = 0.3  # of random points at the first growth, for each share of the pictures on which there is something
SAFE = 0.88  # share of a given time that is planned with
GAUSSIANS_A_STEP = 12.0  # where the time decides; more make the steps too few
FEWEST_STEPS = 300


def seconds_of(views: Sequence[View], known: int, config: SplatsConfig, device: str) -> float:
    """About what the training takes on this machine where so many points are known."""
    return speed(device) * _work(views, known, config, _covered(views))


def fitted(views: Sequence[View], known: int, config: SplatsConfig, device: str, seconds: float) -> SplatsConfig:
    """The config with as many steps as fit in the time, and no more Gaussians than that many steps can teach."""
    allowed, covered = SAFE * seconds / speed(device), _covered(views)

    def with_steps(steps: int) -> SplatsConfig:
        budget = min(config.gaussians, max(1000, int(GAUSSIANS_A_STEP * steps)))
        return msgspec.structs.replace(config, steps=steps, gaussians=budget)

    low, high = FEWEST_STEPS, max(FEWEST_STEPS, config.steps_a_photo * len(views)) + 1  # the last is out of reach
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _work(views, known, with_steps(middle), covered) <= allowed else (low, middle)
    return with_steps(low)


def _work(views: Sequence[View], known: int, config: SplatsConfig, covered: float) -> float:
    """The seconds of the training on the machine on which the constants hold."""
    sides = np.array([(view.camera.width, view.camera.height) for view in views], float)
    sides *= np.minimum(1, config.image_side / sides.max(1, keepdims=True))
    pixels = float(sides.prod(1).mean())
    steps = config.steps_for(len(views))
    schedule = Schedule(steps, config.gaussians, config.sh_degree, 1.0, int(sides.min()), not known)
    count, kept, depths = min(known or config.random_points, config.gaussians), 1.0, 0.0
    if known and config.stereo:
        count, depths = int(KNOWN * config.gaussians), SECONDS_A_DEPTH * min(len(views), MOST_PHOTOS)
    elif not known:
        kept = RANDOM_KEPT * covered
    seconds, stride = 0.0, schedule.interval
    for i in range(0, steps, stride):
        if schedule.grows(i + stride - 1):
            count, kept = schedule.wanted(i, max(1, int(kept * count))), 1.0
        drawn = pixels / schedule.factor(i, count) ** 2
        seconds += SECONDS_A_STEP + SECONDS_A_GAUSSIAN * count + SECONDS_A_PIXEL * drawn
    return depths + seconds * stride


def _covered(views: Sequence[View]) -> float:
    """The share of the pictures on which there is something: of those with alpha, the mean of some."""
    images = [view.image() for view in views[:: max(1, len(views) // 4)]]
    return float(np.mean([image[::4, ::4, 3].mean() / 255 if image.shape[2] == 4 else 1.0 for image in images]))


def speed(device: str) -> float:
    """How many times as long this machine takes as the one on which the constants hold, by the median of seven runs of
    the job; on a CPU in CPU time."""
    count, side = JOB
    points, colors = points_at_random(count, np.random.default_rng(0))
    splats = to_splats(gaussians_at(points, colors, 3, True), device, trainable=True)
    view = torch.tensor(look_at((0, -4, 0), (0, 0, 0)), dtype=torch.float32, device=device)
    lens = torch.tensor([[1.4 * side, 0, side / 2], [0, 1.4 * side, side / 2], [0, 0, 1]], device=device)
    wanted = torch.ones(side, side, 3, device=device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds = []
    for _ in range(8):
        began = clock()
        photometric_loss(rasterize(splats, view, lens, side, side, antialiased=True).color, wanted).backward()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(clock() - began)
    return float(np.median(seconds[1:])) / SECONDS_OF_JOB
