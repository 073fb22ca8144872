"""Posed images: one scene through every format, and what is told of sets that are not whole."""

from __future__ import annotations

import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import views_by_hand as hand
from PIL import Image

from recon.errors import UserError
from recon.formats import ViewOptions, format_of, read
from recon.formats.camera_poses import upward
from recon.formats.posed_images import ImageFolder, inside
from recon.inputs import Views
from render.cameras import look_at


def views_in(path: Path, **options: object) -> Views:
    views = read(path, ViewOptions(**options))  # pyright: ignore[reportArgumentType]
    assert isinstance(views, Views)
    return views


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        views_in(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", hand.WRITERS)
def test_one_scene_gives_the_same_rays_in_every_format(tmp_path: Path, name: str) -> None:
    hand.WRITERS[name](tmp_path)
    views = views_in(tmp_path)
    assert len(views.views) == hand.COUNT
    for index, camera in enumerate(hand.cameras()):
        (view,) = (view for view in views.views if Path(view.name).stem.endswith(str(index)))
        assert (view.camera.width, view.camera.height) == (hand.WIDTH, hand.HEIGHT)
        origin, directions = view.camera.rays()
        expected_origin, expected_directions = camera.rays()
        np.testing.assert_allclose(origin, expected_origin, atol=1e-5)
        np.testing.assert_allclose(directions, expected_directions, atol=1e-5)
        picture = view.image()
        assert picture.shape == (hand.HEIGHT, hand.WIDTH, 3)
        assert (picture == hand.color(index)).all()
    assert [view.name for view in views.views] == sorted(view.name for view in views.views)
    assert all((tmp_path / view.name).is_file() for view in views.views)


@pytest.mark.parametrize(
    "name", ["colmap_binary", "colmap_text", "colmap_by_pycolmap", "transforms_applied", "opensfm"]
)
def test_points_come_back_in_the_coordinates_of_the_cameras(tmp_path: Path, name: str) -> None:
    hand.WRITERS[name](tmp_path)
    points = views_in(tmp_path).points
    assert points is not None
    order = np.argsort(hand.POINTS[:, 0])
    found = np.argsort(points.points[:, 0])
    np.testing.assert_allclose(points.points[found], hand.POINTS[order], atol=1e-6)
    if name != "transforms_applied":
        assert points.colors is not None
        np.testing.assert_array_equal(points.colors[found], hand.COLORS[order])


def test_what_each_format_knows_of_unit_and_up(tmp_path: Path) -> None:
    for name in ("polycam", "record3d", "relief", "metashape"):
        hand.WRITERS[name](tmp_path / name)
    assert views_in(tmp_path / "polycam").up == (0, 1, 0)
    assert views_in(tmp_path / "record3d").unit == "m"
    assert views_in(tmp_path / "metashape").unit == "m"
    relief = views_in(tmp_path / "relief", up="-y")
    assert relief.up == (0, -1, 0)
    assert [view.held_out for view in relief.views] == [False, True, False, False]


def test_up_is_estimated_from_level_cameras(tmp_path: Path) -> None:
    hand.colmap_binary(tmp_path)
    views = views_in(tmp_path)
    np.testing.assert_allclose(views.up, (0, 0, 1), atol=1e-9)
    assert any("Up is estimated" in note for note in views.notes)


def test_up_of_a_drone_that_looks_down_and_of_a_row_of_cameras_that_looks_ahead() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(-20, 20, (12, 3)) * (1, 1, 0)
    poses = np.stack([look_at(place + (0, 0, 50), place, up=(0, 1, 0)) for place in places])
    ground = rng.uniform(-60, 60, (400, 3)) * (1, 1, 0.02)
    np.testing.assert_allclose(upward(poses, ground), (0, 0, 1), atol=1e-9)
    poses = np.stack([look_at(place, place + (0, 0, 9), up=(0, -1, 0)) for place in places / 40])
    scene = np.stack([*rng.uniform(-5, 5, (2, 400)), rng.uniform(3, 20, 400)], axis=1)
    np.testing.assert_allclose(upward(poses, scene), (0, -1, 0), atol=1e-9)


def test_a_model_is_found_by_any_of_its_folders_and_files(tmp_path: Path) -> None:
    hand.colmap_binary(tmp_path)
    for path in ("", "sparse/0", "sparse/0/images.bin", "sparse"):
        assert len(views_in(tmp_path / path).views) == hand.COUNT
    hand.transforms(tmp_path / "other")
    assert len(views_in(tmp_path / "other" / "transforms.json").views) == hand.COUNT


def test_the_largest_of_several_models_is_taken(tmp_path: Path) -> None:
    hand.colmap_binary(tmp_path)
    smaller = tmp_path / "sparse" / "1"
    shutil.copytree(tmp_path / "sparse" / "0", smaller)
    content = (smaller / "images.bin").read_bytes()
    (smaller / "images.bin").write_bytes(struct.pack("<Q", 1) + content[8:])
    views = views_in(tmp_path)
    assert len(views.views) == hand.COUNT
    assert any("Of several models" in note for note in views.notes)


def test_the_split_of_a_nerf_synthetic_scene(tmp_path: Path) -> None:
    hand.nerf_synthetic(tmp_path)
    held_out = {view.name: view.held_out for view in views_in(tmp_path).views}
    assert held_out == {
        "test/img_2.png": True,
        "test/img_3.png": True,
        "train/img_0.png": False,
        "train/img_1.png": False,
    }
    (tmp_path / "transforms_test.json").rename(tmp_path / "transforms_val.json")
    views = views_in(tmp_path)
    assert [view.held_out for view in views.views] == [True, True, False, False]
    (tmp_path / "transforms_val.json").unlink()
    assert [view.held_out for view in views_in(tmp_path).views] == [None, None]


def test_val_is_left_out_where_there_is_test(tmp_path: Path) -> None:
    lists = {
        f"{part}_filenames": [f"./images/img_{i}.png" for i in chosen]
        for part, chosen in {"train": (0, 3), "val": (1,), "test": (2,)}.items()
    }
    hand.transforms(tmp_path, **lists)
    views = views_in(tmp_path)
    assert {view.name[-5]: view.held_out for view in views.views} == {"0": False, "2": True, "3": False}
    assert any("1 views of the part val are left out" in note for note in views.notes)
    assert views.unposed == ()


def test_missing_images_and_images_without_pose_are_told(tmp_path: Path) -> None:
    hand.transforms(tmp_path)
    (tmp_path / "images" / "img_2.png").unlink()
    Image.new("RGB", (64, 48)).save(tmp_path / "images" / "extra.png")
    Image.new("L", (64, 48)).save(tmp_path / "images" / "img_1_depth.png")
    views = views_in(tmp_path)
    assert len(views.views) == 3
    assert views.unposed == ("images/extra.png",)
    assert "1 of 4 listed images are not there and are left out: ./images/img_2.png." in views.notes
    assert "1 images have no pose and are left out: images/extra.png." in views.notes
    shutil.rmtree(tmp_path / "images")
    assert "none of its 4 images is there" in refusal(tmp_path)


def test_images_elsewhere_are_named(tmp_path: Path) -> None:
    hand.colmap_binary(tmp_path / "set")
    (tmp_path / "set" / "images").rename(tmp_path / "pictures")
    assert "--images" in refusal(tmp_path / "set")
    assert len(views_in(tmp_path / "set", images=str(tmp_path / "pictures")).views) == hand.COUNT
    assert "there is no such folder" in refusal(tmp_path / "set", images=str(tmp_path / "nowhere"))


def test_matrices_whose_numbers_have_leading_zeros(tmp_path: Path) -> None:
    hand.idr(tmp_path)
    file = tmp_path / "cameras_sphere.npz"
    with np.load(file) as arrays:
        renamed = {re.sub(r"mat_(\d+)", lambda match: f"mat_{int(match[1]):03}", name): arrays[name] for name in arrays}
    np.savez(file, **renamed)
    poses = [view.camera.world_to_camera for view in views_in(tmp_path).views]
    np.testing.assert_allclose(poses, [camera.world_to_camera for camera in hand.cameras()], atol=1e-6)


def test_what_a_frame_says_of_its_lens_wins(tmp_path: Path) -> None:
    """Also that it bends nothing."""
    hand.transforms(tmp_path)
    content = json.loads((tmp_path / "transforms.json").read_text())
    content |= {"k1": -0.2, "distortion_params": [-0.2], "camera_model": "OPENCV_FISHEYE", "is_fisheye": True}
    for entry in content["frames"]:
        entry |= {"k1": 0.0, "distortion_params": [], "camera_model": "OPENCV", "is_fisheye": False}
    hand.write_json(tmp_path / "transforms.json", content)
    assert not any("undistorted" in note for note in views_in(tmp_path).notes)


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.png", "images/../../outside.png", "..\\outside.png"])
def test_names_may_not_lead_out_of_the_set(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    hand.transforms(folder)
    Image.new("RGB", (64, 48)).save(tmp_path / "outside.png")
    content = json.loads((folder / "transforms.json").read_text())
    content["frames"][1]["file_path"] = name
    hand.write_json(folder / "transforms.json", content)
    assert "lies outside the data set" in refusal(folder)


@pytest.mark.parametrize("before", ["/home/someone/capture/", "C:\\scans\\capture\\"])
def test_paths_of_another_machine_are_found_by_their_last_parts(tmp_path: Path, before: str) -> None:
    hand.transforms(tmp_path)
    given = views_in(tmp_path)
    content = json.loads((tmp_path / "transforms.json").read_text())
    for frame in content["frames"]:
        frame["file_path"] = before + frame["file_path"]
    hand.write_json(tmp_path / "transforms.json", content)
    assert [view.name for view in views_in(tmp_path).views] == [view.name for view in given.views]


def test_names_may_not_lead_out_of_the_folder_that_one_works_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "set" / "a")
    for root, name in ((".", "../x.png"), ("..", "../x.png"), (".", str(tmp_path / "x.png"))):
        with pytest.raises(UserError, match="lies outside the data set"):
            inside(Path(root), name)
    assert inside(Path(), "b/../x.png") == Path("x.png") and inside(Path(".."), "a/x.png") == Path("../a/x.png")
    (tmp_path / "set.png").touch()
    for root in (tmp_path / "set", Path()):
        assert ImageFolder(root).find("", suffixes=(".png",)) is None


def test_reduced_copies_scale_their_cameras(tmp_path: Path) -> None:
    hand.colmap_binary(tmp_path)
    shutil.rmtree(tmp_path / "images")
    hand.write_images(tmp_path / "images_2", size=(32, 24))
    views = views_in(tmp_path)
    camera = views.views[0].camera
    assert (camera.width, camera.height) == (32, 24)
    np.testing.assert_allclose(camera.intrinsics, [[30, 0, 16], [0, 30, 12], [0, 0, 1]])
    assert any("another size than their cameras" in note for note in views.notes)


def test_large_images_are_reduced(tmp_path: Path) -> None:
    hand.transforms(tmp_path)
    views = views_in(tmp_path, max_size=32)
    camera = views.views[0].camera
    assert (camera.width, camera.height) == (32, 24)
    np.testing.assert_allclose(camera.intrinsics, [[30, 0, 16], [0, 30, 12], [0, 0, 1]])
    assert views.views[0].image().shape == (24, 32, 3)
    assert any("4 images are reduced to 32 pixels" in note for note in views.notes)


def test_an_image_of_another_shape_is_refused(tmp_path: Path) -> None:
    hand.transforms(tmp_path)
    Image.new("RGB", (48, 48)).save(tmp_path / "images" / "img_2.png")
    assert "img_2.png: has 48 x 48 pixels, its camera 64 x 48" in refusal(tmp_path)


def test_an_image_is_turned_where_its_camera_is(tmp_path: Path) -> None:
    hand.transforms(tmp_path)
    lying = np.zeros((64, 48, 3), np.uint8)
    lying[:, :24] = 255  # once turned a quarter clockwise (orientation 6): white above
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(lying).save(tmp_path / "images" / "img_2.png", exif=exif)
    flat = Image.new("RGB", (64, 48), (9, 9, 9))
    exif[0x0112] = 3
    flat.save(tmp_path / "images" / "img_1.png", exif=exif)
    views = views_in(tmp_path)
    picture = views.views[2].image()
    assert picture.shape == (48, 64, 3)
    assert (picture[:24] == 255).all() and (picture[24:] == 0).all()
    assert any("1 images are turned upright" in note for note in views.notes)


def test_masks_beside_the_images_are_found(tmp_path: Path) -> None:
    hand.colmap_binary(tmp_path)
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :20] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "img_0.png.png")
    Image.fromarray(mask).resize((32, 24)).save(tmp_path / "masks" / "img_1.png")
    views = views_in(tmp_path).views
    assert views[2].mask is None
    for view in views[:2]:
        assert view.mask is not None
        np.testing.assert_array_equal(view.mask(), mask > 0)


def test_masks_labels_and_depth_of_transforms(tmp_path: Path) -> None:
    hand.transforms(tmp_path)
    content = json.loads((tmp_path / "transforms.json").read_text())
    depth = np.full((24, 32), 1500, np.uint16)
    depth[0, 0] = 0
    Image.fromarray(depth).save(tmp_path / "depth.png")
    labels = np.zeros((48, 64), np.uint8)
    labels[10:20] = 2
    Image.fromarray(labels).save(tmp_path / "labels.png")
    for frame in content["frames"]:
        frame |= {"mask_path": "labels.png", "depth_file_path": "depth.png"}
    content["frames"][1]["mask_path"] = "missing.png"
    hand.write_json(tmp_path / "transforms.json", {**content, "instances": {"0": "room", "2": "chair"}})
    views = views_in(tmp_path)
    first = views.views[0]
    assert [(label.id, label.name) for label in views.labels] == [(2, "chair")]
    assert first.mask is None and first.labels is not None and first.depth is not None
    np.testing.assert_array_equal(first.labels(), labels)
    found = first.depth()
    assert found.shape == (48, 64) and found[0, 0] == 0 and found[30, 30] == pytest.approx(1.5)
    assert "1 of 4 masks are not there." in [note.replace("listed ", "") for note in views.notes]
    hand.write_json(tmp_path / "transforms.json", content)
    masked = views_in(tmp_path).views[0]
    assert masked.mask is not None and masked.labels is None


def test_blurred_frames_of_polycam_are_left_out(tmp_path: Path) -> None:
    hand.polycam(tmp_path)
    file = tmp_path / "keyframes" / "corrected_cameras" / "img_1.json"
    hand.write_json(file, {**json.loads(file.read_text()), "blur_score": 10})
    Image.fromarray(np.full((6, 8), 2000, np.uint16)).save(tmp_path / "img_0.png")
    (tmp_path / "keyframes" / "depth").mkdir()
    shutil.move(tmp_path / "img_0.png", tmp_path / "keyframes" / "depth" / "img_0.png")
    views = views_in(tmp_path)
    assert len(views.views) == 3 and views.unposed == ()
    assert "1 blurred frames (blur_score below 25) are left out." in views.notes
    depth = views.views[0].depth
    assert depth is not None and (depth() == 2).all()


def test_record3ds_intrinsics_of_each_picture_win(tmp_path: Path) -> None:
    hand.record3d(tmp_path)
    content = json.loads((tmp_path / "metadata.json").read_text())
    each = [[70.0 + i, 71.0 + i, 30.0, 25.0] for i in range(hand.COUNT)]
    hand.write_json(tmp_path / "metadata.json", {**content, "perFrameIntrinsicCoeffs": each})
    found = [view.camera.intrinsics for view in views_in(tmp_path).views]
    np.testing.assert_allclose([[k[0, 0], k[1, 1], k[0, 2], k[1, 2]] for k in found], each)
    hand.write_json(tmp_path / "metadata.json", {**content, "perFrameIntrinsicCoeffs": each[:2]})
    assert "has 2 perFrameIntrinsicCoeffs for 4 poses" in refusal(tmp_path)


def test_projection_matrices_of_reduced_images_need_their_width(tmp_path: Path) -> None:
    hand.projection_matrices(tmp_path)
    hand.write_images(tmp_path / "images", size=(32, 24))
    assert "--calibrated-width tells" in refusal(tmp_path)
    camera = views_in(tmp_path, calibrated_width=64).views[0].camera
    np.testing.assert_allclose(camera.intrinsics, [[30, 0, 16], [0, 30, 12], [0, 0, 1]], atol=1e-6)


def test_a_georeferenced_chunk_is_levelled(tmp_path: Path) -> None:
    hand.metashape(tmp_path)
    text = (tmp_path / "cameras.xml").read_text()
    start, end = text.index("<translation>"), text.index("</translation>")
    place = np.array([3780000.0, 900000.0, 5040000.0])  # on the Earth, near Berlin
    moved = text[:start] + "<translation>" + " ".join(map(str, place)) + text[end:]
    (tmp_path / "cameras.xml").write_text(moved)
    flat, level = hand.cameras(), views_in(tmp_path)
    assert level.up == (0, 0, 1) and level.unit == "m"
    assert any("geocentric" in note for note in level.notes)
    before = np.array([camera.position for camera in flat])
    after = np.array([view.camera.position for view in level.views])
    np.testing.assert_allclose(after.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(after - after[0], axis=1), np.linalg.norm(before - before[0], axis=1), atol=1e-6
    )
    latitude, longitude = np.arctan2(place[2], (1 - 6.69437999e-3) * np.hypot(*place[:2])), np.arctan2(*place[1::-1])
    vertical = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
    np.testing.assert_allclose((after - after[0])[:, 2], (before - before[0]) @ vertical, atol=1e-3)


def test_the_folder_that_opendronemap_leaves(tmp_path: Path) -> None:
    hand.opensfm(tmp_path)
    (tmp_path / "opensfm").mkdir()
    (tmp_path / "reconstruction.json").rename(tmp_path / "opensfm" / "reconstruction.json")
    for path in ("", "opensfm", "opensfm/reconstruction.json"):
        assert len(views_in(tmp_path / path).views) == hand.COUNT


def test_folders_are_known_by_what_they_hold(tmp_path: Path) -> None:
    for name, writer in hand.WRITERS.items():
        writer(tmp_path / name)
        assert format_of(tmp_path / name).options is ViewOptions
    rng = np.random.default_rng(0)
    for kind in ("labels", "photos"):
        (tmp_path / kind).mkdir()
        for index in range(2):
            many = rng.integers(0, 256, (64, 64, 3), np.uint8)
            flat = np.where(many[..., :1] > 127, 0, [200, 50, 0]).astype(np.uint8)
            Image.fromarray(many if kind == "photos" else flat).save(tmp_path / kind / f"{index}.png")
    assert format_of(tmp_path / "labels").name == "image stack"
    assert format_of(tmp_path / "photos").name == "photos"
