"""Gaussian splats from views: how like the held-out views they look after how many CPU seconds.

    python benchmarks/splats.py                        nerf_chair in 60, 180 and 600 CPU seconds; the two objects in 60
    python benchmarks/splats.py --input nerf_chair --seconds 60
    python benchmarks/splats.py --input brighton_beach --quality standard
    python benchmarks/splats.py --input socketed_axe --quality standard --pictures FOLDER

One thread. Seconds are CPU time of the training alone: reading the pictures, compiling the kernels and rendering
held-out views are not counted. A budget of seconds is turned into steps once, before the start. Random points, white
background; `curve` is the PSNR of eight held-out views on the way, the last figures are those of all. Photos have the
poses that lie beside them. `calibration` is the milliseconds that a fixed amount of work took beside: seconds of two
machines compare by their ratio to it.

    python benchmarks/splats.py --input nerf_chair --device cuda

On CUDA seconds are those of the clock, and `ms a step` are those of our last steps, on whole pictures, and of gsplat's
rasteriser, our loss and gsplat's optimiser alone, on the same Gaussians and pictures.
"""

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from calibration import calibration_milliseconds

from recon.formats import read
from recon.formats.options import ViewOptions
from recon.gaussians.evaluation import scene_cameras
from recon.gaussians.photometric import photometric_loss
from recon.gaussians.stage import GaussianStage
from recon.image_metrics import likeness
from recon.inputs import Views
from recon.methods.splats import SplatsConfig, fit_to_minutes, gaussian_stage
from recon.split import split
from recon.training import Trainer

DATA = Path(os.environ.get("RELIEF_DATA", ROOT.parent / "shared" / "data"))
RUNS = (("nerf_chair", 60), ("nerf_chair", 180), ("nerf_chair", 600), ("obj_avocado", 60), ("obj_boombox", 60))
PHOTOS = ("brighton_beach", "socketed_axe")
CURVE = (0.1, 0.25, 0.5, 0.75)  # shares of the steps
CURVE_VIEWS = 8
TIMED_STEPS = 100


def main() -> None:
    """Prints a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", default=None, help="the name of a folder in posed/ or photos/ of the data")
    parser.add_argument("--seconds", type=float, default=None, help="seconds that the training may take")
    parser.add_argument("--quality", choices=("draft", "standard", "high"), default="standard")
    parser.add_argument("--density", choices=("error", "mcmc"), default="error")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, default=None, help="takes the held-out views as rendered")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = RUNS if options.input is None else ((options.input, options.seconds),)
    print("| input | calibration | steps | Gaussians | s | PSNR | worst | SSIM | curve (s: PSNR) | ms a step, bare |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name, seconds in runs:
        views = _views(name)
        config = msgspec.structs.replace(SplatsConfig.at(options.quality), density=options.density)
        _warmed(views, config, options.device)
        calibration = calibration_milliseconds()
        if seconds is not None:
            config = fit_to_minutes(views, config, options.device, seconds / 60)
        run = _trained(views, config, options.seed, options.device)
        print(_row(name, calibration, run, options.pictures), flush=True)


class _Run(NamedTuple):
    """A training that is done: `curve` has pairs of seconds and PSNR."""

    views: Views
    config: SplatsConfig
    stage: GaussianStage
    seconds: float
    curve: list[tuple[float, float]]


def _views(name: str) -> Views:
    """The views of an input, with the split."""
    folder = DATA / ("photos" if name in PHOTOS else "posed") / name
    if not folder.is_dir():
        sys.exit(f"{folder} is not there; RELIEF_DATA names the folder of the data")
    if name in PHOTOS:
        views = read(folder / "reference_sparse", ViewOptions(images=str(folder / "images")))
    else:
        views = read(folder)
    assert isinstance(views, Views)
    return split(views)


def _warmed(views: Views, config: SplatsConfig, device: str) -> None:
    """Has the kernels compiled by a training of a few small steps."""
    small = msgspec.structs.replace(config, steps=60, gaussians=500, random_points=400, image_side=128)
    stage = gaussian_stage(views, small, Trainer(device=device))
    for i in range(60):
        stage.step(i)
    _psnr(stage, views, 1)


def _clock(device: str) -> float:
    """Seconds: of this process on a CPU; on CUDA those that went by until all is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _trained(views: Views, config: SplatsConfig, seed: int, device: str) -> _Run:
    stage = gaussian_stage(views, config, Trainer(seed=seed, device=device))
    marks = {int(share * stage.steps) for share in CURVE}
    seconds, curve, began = 0.0, [], _clock(device)
    for i in range(stage.steps):
        stage.step(i)
        if i in marks:
            seconds += _clock(device) - began
            curve.append((seconds, float(np.mean([psnr for psnr, _ in _psnr(stage, views, CURVE_VIEWS)]))))
            began = _clock(device)
    return _Run(views, config, stage, seconds + _clock(device) - began, curve)


def _milliseconds(stage: GaussianStage) -> tuple[float, float]:
    """Of one of the last steps, and of no more than gsplat's calls and the loss; of a copy each, on CUDA."""
    last = range(stage.steps - TIMED_STEPS, stage.steps)
    state, bare = stage.state_dict(), _bare_step(stage)
    took = []
    for step in (bare, stage.step):
        for i in last[:10]:
            step(i)
        began = _clock("cuda")
        for i in last:
            step(i)
        took.append(1000 * (_clock("cuda") - began) / TIMED_STEPS)
    stage.load_state_dict(state)
    return took[1], took[0]


def _bare_step(stage: GaussianStage) -> Callable[[int], None]:
    """gsplat's `rasterization` and `SelectiveAdam`, and the loss between them; the pictures are there already."""
    from gsplat import rasterization
    from gsplat.optimizers import SelectiveAdam

    splats = [values.detach().clone().requires_grad_() for values in stage.splats]
    optimizers = [SelectiveAdam([{"params": [values], "lr": 1e-6}], eps=1e-15, betas=(0.9, 0.999)) for values in splats]
    behind = torch.ones(3, device=stage.device)
    targets = [stage.targets.at(k, 1) for k in range(min(TIMED_STEPS, len(stage.targets)))]
    wanted = [target.over(behind) for target in targets]

    def step(i: int) -> None:
        k = i % len(targets)
        height, width, _ = wanted[k].shape
        means, log_scales, quaternions, logits, sh = splats
        colors, _, info = rasterization(
            means, quaternions, log_scales.exp(), logits.sigmoid(), sh, targets[k].world_to_camera[None],
            targets[k].intrinsics[None], width, height, sh_degree=stage.schedule.sh_degree, packed=False,
            backgrounds=behind[None], rasterize_mode="antialiased" if stage.antialiased else "classic",
        )  # fmt: skip
        photometric_loss(colors[0], wanted[k], stage.losses.ssim).backward()
        visible = (info["radii"] > 0).all(-1)[0]
        for optimizer in optimizers:
            optimizer.step(visible)
            optimizer.zero_grad(set_to_none=True)

    return step


def _psnr(
    stage: GaussianStage, views: Views, most: int | None = None, pictures: Path | None = None
) -> list[tuple[float, float]]:
    """PSNR and SSIM of held-out views, of at most so many."""
    held_out = [view for view in views.views if view.held_out]
    chosen = held_out if most is None else held_out[:: -(-len(held_out) // most)]
    cameras = scene_cameras(stage.result(), Views(tuple(chosen)), stage.frame, stage.ground, stage.device)
    found = []
    for view, one in zip(chosen, cameras, strict=True):
        assert one.rendered is not None
        found.append(likeness(view, one.rendered))
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one.rendered).save(pictures / f"{Path(one.name).stem}.png")
    return found


def _row(name: str, calibration: float, run: _Run, pictures: Path | None) -> str:
    found = _psnr(run.stage, run.views, pictures=pictures)
    psnr, ssim = np.mean(found, axis=0)
    curve = ", ".join(f"{seconds:.0f}: {value:.1f}" for seconds, value in run.curve)
    step = "-" if run.stage.device == "cpu" else "{:.2f}, {:.2f}".format(*_milliseconds(run.stage))
    return (
        f"| {name} | {calibration:.1f} | {run.stage.steps} | {len(run.stage.result())} | {run.seconds:.0f} "
        f"| {psnr:.2f} | {min(value for value, _ in found):.2f} | {ssim:.4f} | {curve} | {step} |"
    )


if __name__ == "__main__":
    main()
