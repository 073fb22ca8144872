"""Photos with cameras through the command line, from `reconstruct` to every export; and cameras found once for all."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from splat_scene import BALLS, WHITE, cameras_around, cut_out, views_of_balls, write_photos_with_cameras
from test_reconstruct import ENVIRONMENT, relief

from app.heldout import ground_of
from recon.formats import read
from recon.formats.options import ViewOptions
from recon.formats.splats import read_splats
from tests.killing import assert_a_broken_run_leaves_the_same_bytes

SHORT = ("--steps", "200", "--gaussians", "1500", "--random-points", "1000", "--sh-degree", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The run folder of a short training on ten photos."""
    folder = tmp_path_factory.mktemp("splats")
    write_photos_with_cameras(folder / "balls")
    (folder / "said.txt").write_text(relief("reconstruct", "balls", *SHORT, cwd=folder).stdout)
    return folder / "runs" / "balls-splats"


def test_a_run_leaves_splats_cameras_and_held_out_pictures(run: Path):
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["method"], record["input"]["options"]["of"]) == ("done", "splats", "views")
    metrics = record["metrics"]
    assert set(metrics["held_out_views"]) == {"images/00.png", "images/05.png"}  # as transforms.json splits
    each = [view["psnr"] for view in metrics["held_out_views"].values()]
    assert metrics["psnr"] == pytest.approx(np.mean(each)) and metrics["psnr"] > 18
    assert 0.5 < metrics["ssim"] <= 1 and "objects" not in metrics
    found = read_splats(run / "scene" / "splats.ply").gaussians
    assert found is not None and len(found) == metrics["splats"]["count"]
    assert not (run / "scene" / "mesh.ply").exists()
    said = (run.parents[1] / "said.txt").read_text()
    assert "2 views: PSNR" in said and "splats, colours of degree 1" in said


def test_held_out_pictures_are_of_the_photos_size_and_give_the_recorded_psnr(run: Path):
    metrics = json.loads((run / "run.json").read_text())["metrics"]
    for number in (0, 5):
        rendered = np.asarray(Image.open(run / "heldout" / "images" / f"{number:02d}.png"), np.float64) / 255
        cut = cut_out(cameras_around(10)[number]).astype(np.float64) / 255
        photo = cut[..., :3] * cut[..., 3:] + 1 - cut[..., 3:]
        assert rendered.shape == photo.shape
        truth = -10 * np.log10(((rendered - photo) ** 2).mean())
        assert metrics["held_out_views"][f"images/{number:02d}.png"]["psnr"] == pytest.approx(truth, abs=0.02)


def test_the_splats_stand_in_the_users_coordinates(run: Path):
    gaussians = read_splats(run / "scene" / "splats.ply").gaussians
    assert gaussians is not None
    means = gaussians.means[gaussians.opacities > 0.5]
    away = np.min([np.linalg.norm(means - center, axis=1) - radius for center, radius, _ in BALLS], axis=0)
    assert np.median(np.abs(away)) < 0.25
    cameras = json.loads((run / "scene" / "cameras.json").read_text())["cameras"]
    for entry, truth in zip(cameras, cameras_around(10), strict=True):
        np.testing.assert_allclose(entry["world_to_camera"], truth.world_to_camera, atol=1e-9)
    assert [entry["held_out"] for entry in cameras] == [n % 5 == 0 for n in range(10)]


def test_the_report_shows_the_worst_view_first_and_is_written_again(run: Path):
    page = (run / "report.html").read_text()
    figures = json.loads((run / "run.json").read_text())["metrics"]["held_out_views"]
    worst, best = sorted(figures, key=lambda name: figures[name]["psnr"])
    assert 0 < page.index(f"{worst}: PSNR") < page.index(f"{best}: PSNR")
    assert "10 images of 96 × 72 pixels with cameras; 2 of them held out" in page
    (run / "report.html").unlink()
    relief("report", "runs/balls-splats", cwd=run.parents[1])
    assert f"{worst}: PSNR" in (run / "report.html").read_text()


def test_options_choose_what_is_held_out(run: Path):
    folder = run.parents[1]
    few = ("--steps", "20", "--gaussians", "300", "--random-points", "200", "--device", "cpu")
    relief("reconstruct", "balls", *few, "--test-views", "1,images/03.png", "--out", "other", cwd=folder)
    held_out = {str(file.relative_to(folder / "other" / "heldout")) for file in (folder / "other").rglob("heldout/*/*")}
    assert held_out == {"images/01.png", "images/03.png"}
    for arguments, said in (
        (["--test-views", "77"], "there is no view 77"),
        (["--method", "sheets"], "takes points, and balls holds views; choose one of: auto, splats"),
    ):
        assert said in relief("reconstruct", "balls", *arguments, "--out", "no", cwd=folder, expect=2).stderr
        assert not (folder / "no").exists()


def test_what_needs_a_mesh_says_that_there_is_none(run: Path):
    folder = run.parents[1]
    for arguments in (["compare", run, run], ["export", run, "--to", "stl"]):
        refused = relief(*arguments, cwd=folder, expect=2).stderr
        assert refused.startswith("error: ") and "mesh" in refused and refused.count("\n") == 1


def test_every_splat_format_holds_the_splats(run: Path, tmp_path: Path):
    from app.export import export

    ours = read_splats(run / "scene" / "splats.ply").gaussians
    assert ours is not None
    for to in ("splats-ply", "splats-compressed", "splats-glb", "splat", "spz", "sog"):
        found = read_splats(export(run, to).path)
        assert found.gaussians is not None and len(found.gaussians) == len(ours), to
        places = found.frame.to_user(found.gaussians.means)
        up = np.array(found.frame.up) / np.linalg.norm(found.frame.up)
        heights = np.sort(places @ up)
        np.testing.assert_allclose(heights, np.sort(ours.means[:, 2]), atol=0.02, err_msg=to)


def test_cleaning_leaves_out_what_the_box_does_not_hold(run: Path, tmp_path: Path):
    folder = run.parents[1]
    box = "--crop=-2,-2,0.62,2,2,2"  # the green ball's upper part
    done = relief("export", run, "--to", "splats-ply", box, "--out", tmp_path / "top.ply", cwd=folder)
    assert "splats are left out" in done.stderr
    found = read_splats(tmp_path / "top.ply").gaussians
    assert found is not None and found.means[:, 2].min() >= 0.62
    nothing = relief("export", run, "--to", "splats-ply", "--crop=7,7,7,8,8,8", cwd=folder, expect=2)
    assert "leaves none" in nothing.stderr


def test_transforms_give_the_same_rays_and_pictures(run: Path):
    folder = run.parents[1]
    path = Path(relief("export", run, "--to", "transforms", cwd=folder).stdout.strip())
    again = read(folder / path, ViewOptions())
    for view, truth in zip(again.views, cameras_around(10), strict=True):
        np.testing.assert_allclose(view.camera.world_to_camera, truth.world_to_camera, atol=1e-9)
        np.testing.assert_allclose(view.camera.intrinsics, truth.intrinsics, atol=1e-9)
        np.testing.assert_array_equal(view.image(), cut_out(truth))
    assert [view.held_out for view in again.views] == [n % 5 == 0 for n in range(10)]
    assert again.points is not None


def test_html_and_blender_folders_are_whole(run: Path):
    folder = run.parents[1]
    page = relief("export", run, "--to", "html", cwd=folder)
    assert "http.server" in page.stderr
    assert (folder / page.stdout.strip() / "index.html").stat().st_size > 100_000
    assert "http.server" in (folder / page.stdout.strip() / "README.txt").read_text()
    blender = folder / relief("export", run, "--to", "blender", cwd=folder).stdout.strip()
    files = {file.name for file in blender.iterdir()}
    assert files >= {"splats.ply", "cameras.json", "points.ply", "points.json", "frame.json", "import_relief.py"}
    assert json.loads((blender / "frame.json").read_text())["unit"] == "unknown"


def test_paths_are_rendered_as_pictures_and_as_a_video(run: Path, tmp_path: Path):
    folder = run.parents[1]
    size = ("--size", 96, 72)
    relief("render", run, "--path", "cameras", "--frames", 10, *size, "--out", tmp_path / "pictures", cwd=folder)
    for number in (0, 5):  # ten pictures along ten cameras: each where a photo was taken
        seen = np.asarray(Image.open(tmp_path / "pictures" / f"{number:04d}.png"), int)
        held = np.asarray(Image.open(run / "heldout" / "images" / f"{number:02d}.png"), int)
        assert np.abs(seen - held).mean() < 1.0
    av = pytest.importorskip("av")
    relief("render", run, "--frames", 5, *size, "--fps", 10, "--out", tmp_path / "around.mp4", cwd=folder)
    with av.open(str(tmp_path / "around.mp4")) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == 5 and (frames[0].width, frames[0].height) == (96, 72)
    assert "neither a video" in relief("render", run, "--out", "a.txt", cwd=folder, expect=2).stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the CPU time of a process is read from /proc")
def test_training_that_is_killed_and_stopped_goes_on_to_the_same_splats(run: Path):
    folder = run.parents[1]
    options = [
        "--steps",
        "5000",
        "--steps-a-photo",
        "1000",
        "--gaussians",
        "3000",
        "--random-points",
        "1000",
        "--device",
        "cpu",
    ]
    command = [sys.executable, "-m", "app.cli", "reconstruct", "balls", *options, "--out"]
    assert_a_broken_run_leaves_the_same_bytes(command, folder, ENVIRONMENT, "scene/splats.ply")


def test_pictures_lie_on_white_where_photos_show_a_thing_alone_and_else_on_black():
    views = views_of_balls()
    cut = [replace(view, mask=lambda view=view: cut_out(view.camera)[..., 3] > 127) for view in views.views]
    passers = [replace(view, mask=lambda view=view: cut_out(view.camera)[..., 3] < 128) for view in views.views]
    with_alpha = [replace(view, image=lambda view=view: cut_out(view.camera)) for view in views.views]
    for of, white in ((views.views, False), (cut, True), (passers, False), (with_alpha, True)):
        assert ground_of(replace(views, views=tuple(of))) == (WHITE if white else (0, 0, 0))
