"""Gaussian splats from views: how like the held-out views they look after how many CPU seconds.

    python benchmarks/splats.py                        nerf_chair in 60, 180 and 600 CPU seconds; the two objects in 60
    python benchmarks/splats.py --input nerf_chair --seconds 60
    python benchmarks/splats.py --input brighton_beach --quality standard
    python benchmarks/splats.py --input socketed_axe --quality standard --pictures FOLDER

One thread. Seconds are CPU time of the training alone: reading the pictures, compiling the kernels and rendering
held-out views are not counted. A budget of seconds is turned into steps once, before the start. Random points, white
background; `curve` is the PSNR of eight held-out views on the way, the last figures are those of all. Photos have the
poses that lie beside them. Where the prototype's kernels lie beside the data, they are timed too (forward and backward
of 50,000 Gaussians at 400x400): divide seconds by `machine` to get those of the machine on which they take 57 ms.
"""

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recon.formats import read
from recon.formats.options import ViewOptions
from recon.gaussians.evaluation import BLACK, WHITE, figures, scene_cameras
from recon.gaussians.stage import GaussianStage
from recon.inputs import Views
from recon.methods.splats import SplatsConfig, fit_to_minutes, gaussian_stage
from recon.split import split

DATA = Path(os.environ.get("RELIEF_DATA", ROOT.parent / "shared" / "data"))
PROTOTYPE = DATA.parent / "prototypes" / "splats" / "time_it.py"
PROTOTYPE_MILLISECONDS = 57.0  # on the machine of its published figures
RUNS = (("nerf_chair", 60), ("nerf_chair", 180), ("nerf_chair", 600), ("obj_avocado", 60), ("obj_boombox", 60))
PHOTOS = ("brighton_beach", "socketed_axe")
CURVE = (0.1, 0.25, 0.5, 0.75)  # shares of the steps
CURVE_VIEWS = 8


def main() -> None:
    """Prints a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", default=None, help="the name of a folder in posed/ or photos/ of the data")
    parser.add_argument("--seconds", type=float, default=None, help="CPU seconds that the training may take")
    parser.add_argument("--quality", choices=("draft", "standard", "high"), default="standard")
    parser.add_argument("--density", choices=("gradient", "mcmc"), default="gradient")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, default=None, help="takes the held-out views as rendered")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = RUNS if options.input is None else ((options.input, options.seconds),)
    print("| input | machine | steps | Gaussians | CPU s | PSNR | worst | SSIM | curve (CPU s: PSNR) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name, seconds in runs:
        views = _views(name)
        config = msgspec.structs.replace(SplatsConfig.at(options.quality), density=options.density)
        _warmed(views, config)
        machine = _machine()
        if seconds is not None:
            config = fit_to_minutes(views, config, "cpu", seconds / 60)
        print(_row(name, machine, _trained(views, config, options.seed), options.pictures), flush=True)


class _Run(NamedTuple):
    """A training that is done: `curve` has pairs of CPU seconds and PSNR."""

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


def _warmed(views: Views, config: SplatsConfig) -> None:
    """Has the kernels compiled by a training of a few small steps."""
    small = msgspec.structs.replace(config, steps=60, gaussians=500, random_points=400, image_side=128)
    stage = gaussian_stage(views, small, 0, "cpu")
    for i in range(60):
        stage.step(i)
    _psnr(stage, views, 1)


def _trained(views: Views, config: SplatsConfig, seed: int) -> _Run:
    stage = gaussian_stage(views, config, seed, "cpu")
    marks = {int(share * stage.steps) for share in CURVE}
    seconds, curve, began = 0.0, [], time.process_time()
    for i in range(stage.steps):
        stage.step(i)
        if i in marks:
            seconds += time.process_time() - began
            curve.append((seconds, float(np.mean([psnr for psnr, _ in _psnr(stage, views, CURVE_VIEWS)]))))
            began = time.process_time()
    return _Run(views, config, stage, seconds + time.process_time() - began, curve)


def _psnr(
    stage: GaussianStage, views: Views, most: int | None = None, pictures: Path | None = None
) -> list[tuple[float, float]]:
    """PSNR and SSIM of held-out views, of at most so many."""
    held_out = [view for view in views.views if view.held_out]
    chosen = held_out if most is None else held_out[:: -(-len(held_out) // most)]
    background = BLACK if stage.background == "black" else WHITE
    cameras = scene_cameras(stage.result(), Views(tuple(chosen)), stage.frame, background)
    found = []
    for view, one in zip(chosen, cameras, strict=True):
        assert one.rendered is not None
        found.append(figures(view, one.rendered))
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one.rendered).save(pictures / f"{Path(one.name).stem}.png")
    return found


def _machine() -> float:
    """How many times as long this machine takes now as that of the prototype's figures; 0 where it is not there."""
    if not PROTOTYPE.exists():
        return 0.0
    command = [sys.executable, str(PROTOTYPE)]
    words = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROTOTYPE.parent).stdout.split()
    return (float(words[4]) + float(words[6])) / PROTOTYPE_MILLISECONDS


def _row(name: str, machine: float, run: _Run, pictures: Path | None) -> str:
    found = _psnr(run.stage, run.views, pictures=pictures)
    psnr, ssim = np.mean(found, axis=0)
    curve = ", ".join(f"{seconds:.0f}: {value:.1f}" for seconds, value in run.curve)
    return (
        f"| {name} | {machine:.2f} | {run.config.steps} | {len(run.stage.result())} | {run.seconds:.0f} | {psnr:.2f} "
        f"| {min(value for value, _ in found):.2f} | {ssim:.4f} | {curve} |"
    )


if __name__ == "__main__":
    main()
