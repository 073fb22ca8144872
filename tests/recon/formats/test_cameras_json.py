"""cameras.json: what it says by the design, and rays that stay where they are through a frame and back."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from recon.errors import UserError
from recon.formats import cameras_json
from recon.scene import Frame, SceneCamera
from render.cameras import Camera, look_at

FRAME = Frame(
    2.5, Rotation.from_rotvec([0.4, -1.1, 0.3]).as_matrix(), np.array([552_000.0, 5_241_000.0, 300.0]), "m", (0, -1, 0)
)


def camera() -> Camera:
    return Camera(look_at((1, 2, 3), (0, 0, 0.5)), np.array([[700.0, 0, 330], [0, 690, 250], [0, 0, 1]]), 640, 480)


def test_pixels_stay_where_they_are_through_the_users_frame(tmp_path):
    one = SceneCamera("day 1/a.jpg", camera(), held_out=True)
    cameras_json.write([one], FRAME, tmp_path / "cameras.json")
    (found,), frame = cameras_json.read(tmp_path / "cameras.json")
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    pixels, depth = one.camera.project(points)
    again, far = found.camera.project(FRAME.to_user(points))
    np.testing.assert_allclose(again, pixels, atol=1e-5)
    np.testing.assert_allclose(far, 2.5 * depth, rtol=1e-7)  # depths are in the user's unit
    assert (found.name, found.held_out, frame.unit, frame.up) == ("day 1/a.jpg", True, "m", (0, -1, 0))
    back = FRAME.inverse().camera_to_user(found.camera)
    np.testing.assert_allclose(back.world_to_camera, one.camera.world_to_camera, atol=1e-8)


def test_the_file_has_the_keys_that_other_programs_read(tmp_path):
    cameras_json.write([SceneCamera("a.jpg", camera())], FRAME, tmp_path / "cameras.json")
    whole = json.loads((tmp_path / "cameras.json").read_text())
    assert set(whole) == {"cameras", "frame"}
    assert set(whole["cameras"][0]) == {"name", "width", "height", "intrinsics", "world_to_camera", "held_out"}
    assert np.array(whole["cameras"][0]["intrinsics"]).shape == (3, 3)
    matrix = np.array(whole["cameras"][0]["world_to_camera"])
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    center = -matrix[:3, :3].T @ matrix[:3, 3]
    np.testing.assert_allclose(center, FRAME.to_user(np.array([1.0, 2, 3])), rtol=1e-12)
    assert whole["frame"]["scale"] == 2.5 and whole["frame"]["unit"] == "m" and whole["frame"]["up"] == [0, -1, 0]


@pytest.mark.parametrize("text", ["", "[]", '{"cameras": [{"name": "a"}]}', '{"cameras": [{"name": 1}]}'])
def test_another_file_is_refused_by_its_name(tmp_path, text):
    (tmp_path / "cameras.json").write_text(text)
    with pytest.raises(UserError, match="cameras.json: is no cameras.json of Relief"):
        cameras_json.read(tmp_path / "cameras.json")
