"""Structure from motion against a scene whose cameras are known, and what is kept of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import photo_scenes

from recon.errors import UserError
from recon.formats import read
from recon.formats.colmap_model import read_model
from recon.formats.options import PhotoOptions
from recon.poses import features, poses, read_report, solving
from recon.poses.placement import robust_similarity
from recon.rotations import rotation_matrices

ORIGIN = (8.54, 47.37, 408.0)  # longitude, latitude, altitude
COUNT = 6


def centres(views) -> np.ndarray:
    return np.array([view.camera.position for view in views.views])


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A folder of pictures, and the cameras that took them."""
    folder = tmp_path_factory.mktemp("scene")
    cameras = photo_scenes.cameras(COUNT)
    painted = photo_scenes.textures(3)
    photo_scenes.save(folder, [photo_scenes.picture(camera, painted) for camera in cameras])
    return folder, cameras


@pytest.fixture(scope="module")
def places(scene):
    """Where GPS would say that the cameras stand, if x were east and y north."""
    import pycolmap

    ecef = pycolmap.GPSTransform(pycolmap.GPSTransformEllipsoid.WGS84)
    local = np.array([camera.position for camera in scene[1]])
    latitudes = ecef.enu_to_ellipsoid(local, ORIGIN[1], ORIGIN[0], ORIGIN[2])
    return [(float(longitude), float(latitude), float(altitude)) for latitude, longitude, altitude in latitudes]


@pytest.fixture(scope="module")
def solved(scene, places, tmp_path_factory):
    """The scene with GPS, solved once."""
    folder = tmp_path_factory.mktemp("solved")
    photos = photo_scenes.photos_in(scene[0], position=places, focal=[photo_scenes.FOCAL] * COUNT)
    return photos, folder, poses(photos, folder, threads=1)


def test_known_cameras_are_found(scene, solved):
    cameras = scene[1]
    views = solved[2]
    assert [view.name for view in views.views] == [f"shot_{i:02d}.png" for i in range(COUNT)]
    truth = np.array([camera.position for camera in cameras])
    scale, rotation, translation = robust_similarity(centres(views), truth, np.eye(3))
    moved = scale * centres(views) @ rotation.T + translation
    assert np.abs(moved - truth).max() < 0.01  # of an arc of radius 6
    for view, camera in zip(views.views, cameras, strict=True):
        relative = view.camera.world_to_camera[:3, :3] @ rotation.T @ camera.world_to_camera[:3, :3].T
        assert np.degrees(np.arccos((np.trace(relative) - 1) / 2)) < 0.15
        assert view.camera.intrinsics[0, 0] == pytest.approx(photo_scenes.FOCAL, rel=0.01)


def test_points_lie_on_the_planes_with_their_colours(scene, solved):
    views = solved[2]
    truth = np.array([camera.position for camera in scene[1]])
    scale, rotation, translation = robust_similarity(centres(views), truth, np.eye(3))
    points = scale * views.points.points @ rotation.T + translation
    off = np.min(np.abs([points[:, 2], points[:, 1] - 3, points[:, 0] + 3]), axis=0)
    pixel = 6 / photo_scenes.FOCAL  # on the planes
    assert len(points) > 500
    assert np.median(off) < 0.8 * pixel and np.quantile(off, 0.95) < 4 * pixel
    seen, depth = views.views[3].camera.project(views.points.points)
    height, width = views.views[3].image().shape[:2]
    inside = (depth > 0) & (seen > 1).all(1) & (seen < (width - 1, height - 1)).all(1)
    column, row = seen[inside].astype(int).T
    difference = np.abs(views.views[3].image()[row, column].astype(int) - views.points.colors[inside]).mean(1)
    assert np.median(difference) < 25  # of 255; points that other walls hide are among them


def test_gps_gives_metres_and_up_and_north(scene, solved):
    views = solved[2]
    truth = np.array([camera.position for camera in scene[1]])
    assert views.unit == "m" and views.up == (0.0, 0.0, 1.0)
    assert np.abs((centres(views) - centres(views)[0]) - (truth - truth[0])).max() < 0.03
    for view, camera in zip(views.views, scene[1], strict=True):
        assert np.abs(view.camera.world_to_camera[:3, :3] - camera.world_to_camera[:3, :3]).max() < 0.01


def test_pictures_have_the_size_of_their_cameras(solved):
    for view in solved[2].views:
        assert view.image().shape == (view.camera.height, view.camera.width, 3)


def test_the_model_is_one_that_colmap_reads(solved):
    import pycolmap

    _, folder, views = solved
    assert sorted(file.name for file in (folder / "sparse").iterdir()) == ["cameras.bin", "images.bin", "points3D.bin"]
    theirs = pycolmap.Reconstruction(folder / "sparse")
    assert theirs.num_reg_images() == COUNT
    for image in theirs.images.values():
        view = next(view for view in views.views if view.name == image.name)
        assert image.projection_center() == pytest.approx(view.camera.position, abs=1e-6)


def test_cameras_are_kept(solved, monkeypatch):
    photos, folder, views = solved

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(solving, "extract", refuse)
    again = poses(photos, folder, threads=1)
    assert np.array_equal(centres(again), centres(views))
    assert not (folder / "work").exists()
    with pytest.raises(AssertionError, match="computed again"):
        poses(replace(photos, photos=photos.photos[1:]), folder, threads=1)  # other photos


def test_a_lens_out_of_reason_is_one_sentence(solved, monkeypatch):
    photos, folder, _ = solved

    def refuse(_):
        raise ValueError("the forward axis of the camera does not lie in its picture")

    monkeypatch.setattr("recon.poses.views.straightened", refuse)
    with pytest.raises(UserError, match="bends all pictures out of reason"):
        poses(photos, folder, threads=1)


def test_a_stopped_run_goes_on_to_the_same_cameras(solved, tmp_path, monkeypatch):
    photos, _, views = solved

    def stop(*_, **__):
        raise KeyboardInterrupt

    for stage in ("match", "map_incrementally"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(solving, stage, stop)
            poses(photos, tmp_path, threads=1)
        assert read_report(tmp_path) is None

    def refuse(*_):
        raise AssertionError("features are sought again")

    monkeypatch.setattr(features, "_sift", refuse)
    again = poses(photos, tmp_path, threads=1)
    assert np.array_equal(centres(again), centres(views))


@pytest.mark.parametrize("stage", ["features", "matching", "mapping"])
def test_ctrl_c_is_heard_in_every_stage(solved, tmp_path, stage):
    def press(progress):
        if progress.stage == f"poses: {stage}" and progress.step >= 2:
            raise KeyboardInterrupt

    few = replace(solved[0], photos=solved[0].photos[:4])
    with pytest.raises(KeyboardInterrupt):
        poses(few, tmp_path, threads=1, on_progress=press)
    assert read_report(tmp_path) is None
    assert len(poses(few, tmp_path, threads=1, on_progress=lambda _: None).views) == 4


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import photo_scenes
from recon.poses import poses
tell = lambda progress: print(progress.stage.split()[-1], progress.step, flush=True)
poses(photo_scenes.photos_in(Path(sys.argv[2])), Path(sys.argv[3]), threads=1, on_progress=tell)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_cameras(scene, tmp_path):
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(scene[0])]
    for moment in ("features 2", "matching 0", "mapping 1"):
        with subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any(line.strip() == moment for line in process.stdout)
            process.kill()
    subprocess.run([*command, str(tmp_path / "killed")], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*command, str(tmp_path / "left-alone")], check=True, stdout=subprocess.DEVNULL)
    killed, alone = (read_model(tmp_path / name / "sparse") for name in ("killed", "left-alone"))
    assert killed.images == alone.images and np.array_equal(killed.points, alone.points)


def test_the_report_counts(solved):
    report = read_report(solved[1])
    assert report is not None and report.registered == COUNT and report.attempts == 1
    assert all(photo.features > 100 and photo.inliers <= photo.matches and photo.points > 50 for photo in report.photos)
    assert report.reprojection_error < 1
    assert report.lines()[0].startswith(f"{COUNT} of {COUNT} photos have a camera")


def test_without_gps_up_is_found_from_how_the_cameras_are_held(scene, solved, tmp_path):
    photos = solved[0]
    views = poses(replace(photos, photos=tuple(replace(p, position=None) for p in photos.photos)), tmp_path, threads=1)
    assert views.unit == "unknown"
    down = np.mean([view.camera.world_to_camera[1, :3] for view in views.views], axis=0)
    assert down[2] < -0.8
    floor = views.points.points[views.points.points[:, 2] < np.quantile(views.points.points[:, 2], 0.2)]
    assert np.ptp(floor[:, 2]) < 0.1 * np.ptp(views.points.points[:, 0])


def test_photos_that_share_nothing_are_refused_in_a_sentence(tmp_path, monkeypatch):
    camera = photo_scenes.cameras(1)[0]
    photo_scenes.save(tmp_path / "in", [photo_scenes.picture(camera, photo_scenes.textures(s)) for s in range(3)])
    photos = photo_scenes.photos_in(tmp_path / "in")
    with pytest.raises(UserError, match="0 of 3 photos only .3 share nothing with any other.; take more photos"):
        poses(photos, tmp_path / "out", threads=1)
    report = read_report(tmp_path / "out")
    assert report is not None and report.registered == 0 and report.attempts == 3
    assert all("shows nothing that another photo shows" in line for line in report.lines()[2:])
    monkeypatch.setattr(solving, "extract", None)
    with pytest.raises(UserError, match="0 of 3"):  # known without trying again
        poses(photos, tmp_path / "out", threads=1)


def test_a_photo_of_something_else_is_left_out_with_its_reason(scene, tmp_path):
    _, cameras = scene
    painted = photo_scenes.textures(3)
    pictures = [photo_scenes.picture(camera, painted) for camera in cameras[1:5]]
    pictures.append(photo_scenes.picture(cameras[2], photo_scenes.textures(9)))
    pictures.append(np.full_like(pictures[0], 90))
    photo_scenes.save(tmp_path / "in", pictures)
    photos = photo_scenes.photos_in(tmp_path / "in")
    views = poses(photos, tmp_path / "out", threads=1)
    assert views.unposed == ("shot_04.png", "shot_05.png")
    report = read_report(tmp_path / "out")
    assert "nothing that another photo shows" in report.photos[4].reason
    assert "no detail" in report.photos[5].reason and report.photos[5].features == 0


def test_masks_hide_features(scene, tmp_path):
    import pycolmap

    from recon.poses.features import extract
    from recon.poses.settings import ATTEMPTS

    seen = np.zeros((photo_scenes.HEIGHT, photo_scenes.WIDTH), bool)
    seen[60:180, 40:160] = True
    photos = photo_scenes.photos_in(scene[0], mask=[lambda: seen] * COUNT)
    extract(photos, tmp_path / "features.db", ATTEMPTS[0].search, 1, lambda _: None)
    with pycolmap.Database.open(tmp_path / "features.db") as content:
        for image in range(1, COUNT + 1):
            x, y = content.read_keypoints(image)[:, :2].T
            assert len(x) == len(content.read_descriptors(image).data) > 50
            assert x.min() >= 40 and x.max() < 160 and y.min() >= 60 and y.max() < 180


@pytest.mark.slow
def test_the_photos_that_come_with_the_repository(data_dir, tmp_path):
    views = poses(read(data_dir / "photos" / "brighton_beach", PhotoOptions()), tmp_path)
    assert len(views.views) == 18 and views.unit == "m" and len(views.points.points) > 1500
    assert all(view.camera.forward[2] < -0.95 for view in views.views)


@pytest.mark.slow
def test_brighton_beach(real_data, tmp_path):
    path = real_data / "photos" / "brighton_beach"
    views = poses(read(path, PhotoOptions()), tmp_path)
    assert len(views.views) == 18 and views.unit == "m"
    reference = {Path(image.name).name: image for image in read_model(path / "reference_sparse").images}
    assert _largest_angle(views, reference) < 0.3  # degrees
    heights = centres(views)[:, 2] - np.median(views.points.points[:, 2])
    assert np.ptp(heights) < 5 and 40 < heights.mean() < 120  # a drone in level flight, metres
    assert all(view.camera.forward[2] < -0.95 for view in views.views)


@pytest.mark.slow
def test_socketed_axe_by_its_masks(real_data, tmp_path):
    path = real_data / "photos" / "socketed_axe"
    views = poses(read(path, PhotoOptions()), tmp_path)
    assert len(views.views) == 52
    reference = {Path(image.name).name: image for image in read_model(path / "reference_sparse").images}
    assert _largest_angle(views, reference) < 1.0  # PhotoScan's cameras of the same photos are up to 1.1 off either


def _largest_angle(views, reference) -> float:
    """Between relative rotations: from each camera to the first, here and in the reference."""

    ours = np.array([view.camera.world_to_camera[:3, :3] for view in views.views])
    theirs = rotation_matrices(np.array([reference[Path(view.name).name].quaternion for view in views.views]))
    relative = (ours @ ours[0].T) @ (theirs @ theirs[0].T).swapaxes(1, 2)
    cosines = np.clip((np.trace(relative, axis1=1, axis2=2) - 1) / 2, -1, 1)
    return float(np.degrees(np.arccos(cosines)).max())
