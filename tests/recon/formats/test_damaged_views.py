"""Posed images from files that are cut short, lie or are noise: one sentence, nothing else."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import views_by_hand as hand

from recon.errors import UserError
from recon.formats import ViewOptions, read

POSE_FILES = {
    "colmap_binary": ("sparse/0/cameras.bin", "sparse/0/images.bin", "sparse/0/points3D.bin"),
    "colmap_text": ("sparse/cameras.txt", "sparse/images.txt", "sparse/points3D.txt"),
    "transforms_applied": ("transforms.json",),
    "nerf_synthetic": ("transforms_train.json",),
    "llff": ("poses_bounds.npy",),
    "idr": ("cameras_sphere.npz",),
    "projection_matrices": ("P/img_1_P.txt",),
    "polycam": ("keyframes/corrected_cameras/img_2.json",),
    "record3d": ("metadata.json",),
    "opensfm": ("reconstruction.json",),
    "metashape": ("cameras.xml",),
    "relief": ("cameras.json",),
}
FILES = [(name, file) for name, files in POSE_FILES.items() for file in files]


def outcome(path: Path) -> str:
    """What is said of the set; empty where it is read."""
    try:
        read(path, ViewOptions())
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


@pytest.mark.parametrize(("name", "file"), FILES)
def test_what_is_cut_short_is_told(tmp_path: Path, name: str, file: str) -> None:
    hand.WRITERS[name](tmp_path)
    whole = (tmp_path / file).read_bytes()
    for length in (0, 1, 9, len(whole) // 3, len(whole) // 2, len(whole) - 3):
        (tmp_path / file).write_bytes(whole[:length])
        said = outcome(tmp_path)
        if not file.endswith(".txt"):  # text that ends at a line's end is a whole, smaller file
            assert said, length


@pytest.mark.parametrize(("name", "file"), FILES)
def test_noise_is_read_or_told(tmp_path: Path, name: str, file: str) -> None:
    hand.WRITERS[name](tmp_path)
    whole = np.frombuffer((tmp_path / file).read_bytes(), np.uint8)
    rng = np.random.default_rng(1)
    for _ in range(25):
        damaged = whole.copy()
        places = rng.integers(0, len(whole), rng.integers(1, 6))
        damaged[places] = rng.integers(0, 256, len(places))
        (tmp_path / file).write_bytes(damaged.tobytes())
        outcome(tmp_path)


@pytest.mark.parametrize(("file", "counted"), [("cameras.bin", 1), ("images.bin", 4), ("points3D.bin", 3)])
def test_counts_that_lie(tmp_path: Path, file: str, counted: int) -> None:
    hand.colmap_binary(tmp_path)
    path = tmp_path / "sparse" / "0" / file
    content = path.read_bytes()
    for lie in (counted + 1, 1 << 31, 1 << 62, (1 << 64) - 1):
        path.write_bytes(struct.pack("<Q", lie) + content[8:])
        said = outcome(tmp_path)
        assert file in said and ("promises" in said or "cut short" in said)


def test_a_track_that_lies(tmp_path: Path) -> None:
    hand.colmap_binary(tmp_path)
    path = tmp_path / "sparse" / "0" / "points3D.bin"
    content = bytearray(path.read_bytes())
    for lie in (1 << 20, 1 << 40, (1 << 64) - 1):
        content[8 + 43 : 8 + 51] = struct.pack("<Q", lie)
        path.write_bytes(content)
        assert "the track of a point" in outcome(tmp_path)


def changed(folder: Path, change: Callable[[dict], object], file: str = "transforms.json") -> str:
    """What is said of a JSON file after a change."""
    path = folder / file
    whole = path.read_text()
    content = json.loads(whole)
    change(content)
    path.write_text(json.dumps(content))
    said = outcome(folder)
    path.write_text(whole)
    return said


def test_numbers_that_make_no_sense(tmp_path: Path) -> None:
    hand.transforms(tmp_path)
    frame = {"file_path": "images/img_0.png", "transform_matrix": np.eye(4).tolist()}
    cases: list[tuple[Callable[[dict], object], str]] = [
        (lambda c: c.update(fl_x=-3, fl_y=-3), "focal lengths of its camera must be positive"),
        (lambda c: (c.pop("fl_x"), c.pop("fl_y")), "says nothing of the focal length"),
        (lambda c: c.update(camera_model="EQUIRECTANGULAR"), "cannot be made a pinhole's"),
        (lambda c: c["frames"].clear(), "lists no frames"),
        (lambda c: c["frames"].append(frame), "lists the image images/img_0.png twice"),
        (lambda c: c["frames"][1].update(transform_matrix=[[1, 2], [3]]), "is not a matrix"),
        (lambda c: c["frames"][1].update(transform_matrix=np.zeros((4, 4)).tolist()), "is no rotation"),
        (lambda c: c["frames"][1].update(transform_matrix=np.diag([1, 1, -1, 1]).tolist()), "is no rotation"),
        (lambda c: c.update(applied_scale=0), "applied_scale must be positive"),
        (lambda c: c.update(k1=float("nan")), "is no list of posed images"),
        (lambda c: c["frames"][0].pop("file_path"), "missing required field `file_path`"),
    ]
    for change, said in cases:
        assert said in changed(tmp_path, change)


def test_a_matrix_with_a_uniform_scale_is_a_pose(tmp_path: Path) -> None:
    hand.transforms(tmp_path)

    def scale(content: dict) -> None:
        for entry in content["frames"]:
            matrix = np.array(entry["transform_matrix"])
            matrix[:3, :3] *= 2.5
            entry["transform_matrix"] = matrix.tolist()

    content = json.loads((tmp_path / "transforms.json").read_text())
    scale(content)
    hand.write_json(tmp_path / "transforms.json", content)
    views = read(tmp_path, ViewOptions())
    np.testing.assert_allclose(views.views[0].camera.world_to_camera, hand.cameras()[0].world_to_camera, atol=1e-9)


def test_what_other_formats_say(tmp_path: Path) -> None:
    for name in POSE_FILES:
        hand.WRITERS[name](tmp_path / name)
    fisheye = {"projection_type": "spherical"}
    said = changed(tmp_path / "opensfm", lambda c: c[1]["cameras"]["v2"].update(fisheye), "reconstruction.json")
    assert "the projection spherical, which cannot be made a pinhole's" in said
    said = changed(
        tmp_path / "record3d", lambda c: c["poses"][0].__setitem__(slice(0, 4), [0, 0, 0, 0]), "metadata.json"
    )
    assert "no quaternion" in said
    np.save(tmp_path / "llff" / "poses_bounds.npy", np.zeros((4, 16)))
    assert "rows of 17 numbers" in outcome(tmp_path / "llff")
    np.save(tmp_path / "llff" / "poses_bounds.npy", np.ones((3, 17)))
    assert "has 3 rows for 4 images" in outcome(tmp_path / "llff")
    np.save(tmp_path / "llff" / "poses_bounds.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "not numbers" in outcome(tmp_path / "llff")
    (tmp_path / "projection_matrices" / "P" / "img_0_P.txt").write_text("0 " * 12)
    assert "is not the projection matrix of a camera" in outcome(tmp_path / "projection_matrices")
    xml = tmp_path / "metashape" / "cameras.xml"
    whole = xml.read_text()
    xml.write_text(whole.replace("<document", '<!DOCTYPE a [<!ENTITY b "c">]><document'))
    assert "declares entities" in outcome(tmp_path / "metashape")
    xml.write_text(whole.replace('type="frame"', 'type="spherical"'))
    assert "without a frame or fisheye calibration" in outcome(tmp_path / "metashape")
    text = tmp_path / "colmap_text" / "sparse" / "cameras.txt"
    text.write_text(text.read_text().replace("SIMPLE_PINHOLE", "EQUIRECTANGULAR").replace("60.0 ", ""))
    assert "takes panoramas" in outcome(tmp_path / "colmap_text")
    text.write_text("3 PINHOLE 64 48 60 60\n")
    assert "line 1: PINHOLE has 4 parameters, 2 numbers follow it" in outcome(tmp_path / "colmap_text")


def test_a_lens_that_sees_nothing_forward_is_told(tmp_path: Path) -> None:
    hand.transforms(tmp_path)
    assert "does not fit: the forward axis" in changed(tmp_path, lambda c: c.update(k1=0.1, cx=-40))


def test_a_picture_that_is_damaged_is_told_when_it_is_read(tmp_path: Path) -> None:
    hand.transforms(tmp_path)
    file = tmp_path / "images" / "img_1.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:20])
    assert "img_1.png" in outcome(tmp_path)
    file.write_bytes(whole[: len(whole) // 2 + 10])
    views = read(tmp_path, ViewOptions())
    with pytest.raises(UserError, match=r"img_1\.png"):
        views.views[1].image()
