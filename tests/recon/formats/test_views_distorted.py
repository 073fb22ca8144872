"""Distorted pictures of known colours, described by each format, come out straight."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon.formats import ViewOptions, read
from recon.inputs import Views

WIDTH, HEIGHT = 240, 180
F, CX, CY = 200.0, 123.0, 86.0
K1, K2, P1, P2 = -0.15, 0.05, 0.003, -0.002
FISHEYE = (0.03, -0.01, 0.004, -0.001)


def color_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth colour for each direction (x, y, 1)."""
    waves = [np.sin(4 * x + 1) * np.cos(3 * y), np.cos(5 * y - x), np.sin(3 * (x + y))]
    return np.stack([127 + 100 * wave for wave in waves], axis=-1)


def write_picture(file: Path, model: str, parameters: tuple[float, ...]) -> None:
    """What COLMAP's lens sees of `color_of`."""
    pycolmap = pytest.importorskip("pycolmap")
    camera = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=parameters)
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    rays = camera.cam_from_img(np.stack([u.ravel(), v.ravel()], axis=1))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(color_of(*rays.T).round().astype(np.uint8).reshape(HEIGHT, WIDTH, 3)).save(file)


def brown(folder: Path) -> None:
    write_picture(folder / "images" / "a.png", "OPENCV", (F, F, CX, CY, K1, K2, P1, P2))


def fisheye(folder: Path) -> None:
    write_picture(folder / "images" / "a.png", "OPENCV_FISHEYE", (F, F, CX, CY, *FISHEYE))


def colmap(folder: Path) -> None:
    brown(folder)
    camera = struct.pack("<QiiQQ8d", 1, 1, 4, WIDTH, HEIGHT, F, F, CX, CY, K1, K2, P1, P2)
    (folder / "cameras.bin").write_bytes(camera)
    image = struct.pack("<Qi7di", 1, 1, 1, 0, 0, 0, 0, 0, 0, 1) + b"a.png\0" + struct.pack("<Q", 0)
    (folder / "images.bin").write_bytes(image)


def write_transforms(folder: Path, **lens: object) -> None:
    frame = {"file_path": "images/a.png", "transform_matrix": np.diag([1, -1, -1, 1]).tolist()}
    content = {"fl_x": F, "fl_y": F, "cx": CX, "cy": CY, "w": WIDTH, "h": HEIGHT, "frames": [frame], **lens}
    (folder / "transforms.json").write_text(json.dumps(content))


def nerfstudio(folder: Path) -> None:
    brown(folder)
    write_transforms(folder, camera_model="OPENCV", k1=K1, k2=K2, p1=P1, p2=P2)


def nerfstudio_in_one_list(folder: Path) -> None:
    brown(folder)
    write_transforms(folder, distortion_params=[K1, K2, 0.0, 0.0, P1, P2])


def nerfstudio_fisheye(folder: Path) -> None:
    fisheye(folder)
    write_transforms(folder, camera_model="OPENCV_FISHEYE", **dict(zip(("k1", "k2", "k3", "k4"), FISHEYE, strict=True)))


def opensfm(folder: Path, lens: dict[str, object]) -> None:
    camera = {"width": WIDTH, "height": HEIGHT, **lens}
    shot = {"rotation": [0, 0, 0], "translation": [0, 0, 0], "camera": "c"}
    part = {"cameras": {"c": camera}, "shots": {"a.png": shot}, "points": {}}
    (folder / "reconstruction.json").write_text(json.dumps([part]))


def opensfm_brown(folder: Path) -> None:
    brown(folder)
    centre = {"c_x": (CX - WIDTH / 2) / WIDTH, "c_y": (CY - HEIGHT / 2) / WIDTH}
    focal = {"focal_x": F / WIDTH, "focal_y": F / WIDTH}
    opensfm(folder, {"projection_type": "brown", **centre, **focal, "k1": K1, "k2": K2, "k3": 0.0, "p1": P1, "p2": P2})


def opensfm_fisheye(folder: Path) -> None:
    fisheye(folder)
    centre = {"c_x": (CX - WIDTH / 2) / WIDTH, "c_y": (CY - HEIGHT / 2) / WIDTH}
    focal = {"focal_x": F / WIDTH, "focal_y": F / WIDTH}
    radial = dict(zip(("k1", "k2", "k3", "k4"), FISHEYE, strict=True))
    opensfm(folder, {"projection_type": "fisheye_opencv", **centre, **focal, **radial})


def write_metashape(folder: Path, kind: str, calibration: str) -> None:
    (folder / "cameras.xml").write_text(
        f'<document><chunk><sensors><sensor id="0" type="{kind}"><calibration type="{kind}" class="adjusted">'
        f'<resolution width="{WIDTH}" height="{HEIGHT}"/>{calibration}</calibration></sensor></sensors><cameras>'
        '<camera id="0" sensor_id="0" label="a.png"><transform>1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1</transform></camera>'
        "</cameras></chunk></document>"
    )


def metashape(folder: Path) -> None:
    """Its p1 and p2 are the other way round."""
    brown(folder)
    centre = f"<cx>{CX - WIDTH / 2}</cx><cy>{CY - HEIGHT / 2}</cy>"
    write_metashape(folder, "frame", f"<f>{F}</f>{centre}<k1>{K1}</k1><k2>{K2}</k2><p1>{P2}</p1><p2>{P1}</p2>")


def photoscan(folder: Path) -> None:
    """Its old files have the principal point from the corner."""
    write_picture(folder / "images" / "a.png", "RADIAL", (F, CX, CY, K1, K2))
    intrinsics = f"<fx>{F}</fx><fy>{F}</fy><cx>{CX}</cx><cy>{CY}</cy>"
    write_metashape(folder, "frame", f"{intrinsics}<k1>{K1}</k1><k2>{K2}</k2>")


def metashape_fisheye(folder: Path) -> None:
    fisheye(folder)
    radial = "".join(f"<k{i}>{k}</k{i}>" for i, k in enumerate(FISHEYE, start=1))
    centre = f"<cx>{CX - WIDTH / 2}</cx><cy>{CY - HEIGHT / 2}</cy>"
    write_metashape(folder, "fisheye", f"<f>{F}</f>{centre}{radial}")


WRITERS = (
    *(colmap, nerfstudio, nerfstudio_in_one_list, nerfstudio_fisheye, opensfm_brown, opensfm_fisheye),
    *(metashape, photoscan, metashape_fisheye),
)


@pytest.mark.parametrize("write", WRITERS)
def test_colours_stay_with_their_directions(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    views = read(tmp_path, ViewOptions())
    assert isinstance(views, Views)
    assert any("undistorted" in note for note in views.notes)
    (view,) = views.views
    picture = view.image()
    assert picture.shape == (view.camera.height, view.camera.width, 3)
    assert view.camera.width > 0.7 * WIDTH and view.camera.height > 0.7 * HEIGHT
    _, directions = view.camera.rays()
    expected = color_of(directions[:, 0], directions[:, 1]).reshape(picture.shape)
    assert np.abs(picture - expected)[1:-1, 1:-1].max() < 2.5


def test_masks_and_depth_are_straightened_alike(tmp_path: Path) -> None:
    nerfstudio(tmp_path)
    content = json.loads((tmp_path / "transforms.json").read_text())
    content["frames"][0] |= {"mask_path": "mask.png", "depth_file_path": "depth.png"}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    red = np.asarray(Image.open(tmp_path / "images" / "a.png"))[..., 0]
    Image.fromarray(((red > 127) * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    Image.fromarray(red.astype(np.uint16) * 10).save(tmp_path / "depth.png")
    views = read(tmp_path, ViewOptions())
    assert isinstance(views, Views)
    (view,) = views.views
    assert view.mask is not None and view.depth is not None
    red = view.image()[..., 0].astype(float)
    clear = np.abs(red - 127) > 12  # nearest pixels differ by so much at most
    assert (view.mask() == (red > 127))[clear].all()
    np.testing.assert_allclose(view.depth() * 100, red, atol=12)
