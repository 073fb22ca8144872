"""Splat files: size, CPU seconds to write and to read, worst error of quantisation, and what it does to a picture.

    python benchmarks/splat_files.py [FILE.ply] [--count 1000000]

Without a file the Gaussians stand at the points of `posed/gsplat_test_garden`, repeated until there are enough, flat
and as large as the points are apart, with harmonics of degree 3 that are noise: nothing compresses worse. With a file
of a trained scene the sizes and errors are those of real ones. The picture is taken by the garden's first camera, or
of a file's Gaussians from in front; its PSNR is that of the Gaussians read against those written.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from recon.formats import splat_spz
from recon.formats.splat_frames import Y_DOWN
from recon.formats.splat_splat import log_weight
from recon.formats.splats import read_splats, write_splats
from recon.gaussians.harmonics import DC
from recon.gaussians.model import Gaussians
from recon.gaussians.tensors import to_splats
from recon.morton import morton_order
from recon.scene import Frame, Scene
from render.cameras import Camera, framing
from render.splats import render_image

DATA = Path(os.environ.get("RELIEF_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FORMATS = (".ply", ".glb", ".compressed.ply", ".splat", ".spz v2", ".spz v3", ".spz v4", ".sog")
PICTURE = 200_000
"""Gaussians in the picture; the largest are taken."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=1_000_000)
    asked = parser.parse_args()
    scene, camera = garden(asked.count) if asked.file is None else from_file(asked.file)
    assert scene.gaussians is not None
    print(f"{len(scene.gaussians)} Gaussians, harmonics of degree {scene.gaussians.sh_degree}; CPU seconds\n")
    print(f"{'':16s}{'MB':>7s}{'write':>7s}{'read':>7s}{'place':>10s}{'scale':>8s}{'turn':>8s}{'alpha':>8s}", end="")
    print(f"{'colour':>8s}{'harm.':>8s}{'PSNR':>7s}")
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            print(row(name, scene, camera, Path(folder)), flush=True)


def row(name: str, scene: Scene, camera: Camera, folder: Path) -> str:
    """One line of the table: errors of place and of the largest scale in units of the median Gaussian's size."""
    suffix, _, version = name.partition(" v")
    path = folder / f"splats{suffix}"
    start = time.process_time()
    if version:
        splat_spz.write(scene, path, int(version))
    else:
        write_splats(scene, path)
    wrote = time.process_time()
    found = read_splats(path)
    read = time.process_time()
    assert scene.gaussians is not None and found.gaussians is not None
    given, read_back = scene.gaussians.subset(order_in(suffix, scene.gaussians)), found.gaussians
    errors = [
        np.linalg.norm(read_back.means - given.means, axis=1).max() / np.median(given.scales.max(axis=1)),
        np.abs(read_back.log_scales - given.log_scales).max(),
        np.degrees(2 * np.arccos(np.clip(np.abs((read_back.rotations * given.rotations).sum(axis=1)), 0, 1))).max(),
        np.abs(read_back.opacities - given.opacities).max(),
        DC * np.abs(read_back.sh[:, 0] - given.sh[:, 0]).max(),
        np.abs(read_back.sh[:, 1:] - given.sh[:, 1 : read_back.sh.shape[1]]).max(initial=0),
    ]
    size = path.stat().st_size / 1e6
    numbers = f"{errors[0]:10.1e}{errors[1]:8.3f}{errors[2]:8.3f}{errors[3]:8.4f}{errors[4]:8.4f}{errors[5]:8.3f}"
    psnr = psnr_of(picture(read_back, camera), picture(given, camera))
    return f"{name:16s}{size:7.1f}{wrote - start:7.2f}{read - wrote:7.2f}{numbers}{psnr:7.1f}"


def order_in(suffix: str, gaussians: Gaussians) -> np.ndarray:
    """The order in which a format's file has them."""
    if suffix in (".compressed.ply", ".sog"):
        return morton_order(gaussians.means)
    if suffix == ".splat":
        return np.argsort(-log_weight(gaussians))
    return np.arange(len(gaussians))


def picture(gaussians: Gaussians, camera: Camera) -> np.ndarray:
    """The largest of them, drawn in white."""
    largest = np.argsort(-gaussians.log_scales.max(axis=1))[:PICTURE]
    return render_image(to_splats(gaussians.subset(np.sort(largest))), camera, (1.0, 1.0, 1.0))[..., :3]


def psnr_of(a: np.ndarray, b: np.ndarray) -> float:
    """In dB; 99 stands for pictures that are alike in every bit."""
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    return 99.0 if error == 0 else -10 * np.log10(error)


def garden(count: int) -> tuple[Scene, Camera]:
    """Gaussians at the garden's points, and its first camera at a third of its size."""
    data = np.load(DATA / "posed" / "gsplat_test_garden" / "test_garden.npz", allow_pickle=False)
    points, colors = data["means3d"].astype(np.float32), data["colors"] / 255
    rng = np.random.default_rng(0)
    apart = KDTree(points).query(points, 4)[0][:, 1:].mean(axis=1)
    which = np.concatenate([np.arange(len(points)), rng.integers(0, len(points), max(0, count - len(points)))])[:count]
    again = which.copy()
    again[: len(points)] = -1
    shift = np.where((again >= 0)[:, None], rng.normal(size=(count, 3)) * apart[which, None], 0)
    sh = rng.normal(scale=0.1, size=(count, 16, 3))
    sh[:, 0] = (colors[which] - 0.5) / DC
    gaussians = Gaussians(
        means=(points[which] + shift).astype(np.float32),
        log_scales=(np.log(apart[which, None]) + rng.uniform([-0.7, -0.7, -4], [0.3, 0.3, -1], (count, 3))).astype(
            "f4"
        ),
        quaternions=rng.normal(size=(count, 4)).astype(np.float32),
        opacity_logits=rng.normal(1, 2, count).astype(np.float32),
        sh=sh.astype(np.float32),
    )
    camera = Camera(
        data["viewmats"][0].astype(float), data["Ks"][0].astype(float), int(data["width"]), int(data["height"])
    )
    return Scene(gaussians=gaussians, frame=Frame(up=Y_DOWN)), camera.resized(1 / 3)


def from_file(path: Path) -> tuple[Scene, Camera]:
    """A file's Gaussians, and a camera in front of the nine tenths of them in the middle. Turned to -y up, so that
    no format turns them."""
    scene = read_splats(path)
    assert scene.gaussians is not None
    scene = replace(scene, frame=Frame(up=Y_DOWN))
    assert scene.gaussians is not None
    ends = np.quantile(scene.gaussians.means, [0.05, 0.95], axis=0)
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, 3)
    return scene, framing(corners, (0.6, -0.5, -1.0), up=Y_DOWN, size=(640, 480))


if __name__ == "__main__":
    main()
