"""Posed images against nerfstudio, which converts them too: what it made of them stands in `foreign/`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import views_by_hand as hand

from recon.formats import ViewOptions, read
from recon.inputs import Views

FOREIGN = Path(__file__).parent / "foreign"


def views_in(path: Path, **options: str) -> Views:
    views = read(path, ViewOptions(**options))
    assert isinstance(views, Views)
    return views


def assert_same_rays(found: Views, known: Views, turn: np.ndarray, stems: dict[str, str]) -> None:
    """Views of the same pictures, by the stems of their names, have the same rays once the known world is turned."""
    of = {Path(view.name).stem: view for view in found.views}
    assert len(of) == len(known.views) > 3
    for view in known.views:
        camera = of[stems.get(Path(view.name).stem, Path(view.name).stem)].camera
        assert (camera.width, camera.height) == (view.camera.width, view.camera.height)
        (origin, directions), (known_origin, known_directions) = camera.rays(), view.camera.rays()
        np.testing.assert_allclose(origin, known_origin @ turn.T, atol=1e-5)
        np.testing.assert_allclose(directions, known_directions @ turn.T, atol=1e-5)


def test_nerfstudios_transforms_of_a_colmap_model_give_the_models_rays(data_dir: Path, tmp_path: Path):
    """Of a lens with distortion, with world axes of its own that the file states."""
    axe = data_dir / "views" / "axe"
    shutil.copy(FOREIGN / "nerfstudio_colmap.json", tmp_path / "transforms.json")
    found = views_in(tmp_path, images=str(axe / "images"))
    assert_same_rays(found, views_in(axe), np.eye(3), {})


@pytest.mark.parametrize("app", ["polycam", "record3d"])
def test_captures_of_phones_give_the_rays_that_nerfstudio_finds(tmp_path: Path, app: str):
    """Nerfstudio turns the world of Polycam so that z is up, and numbers its pictures anew."""
    hand.WRITERS[app](tmp_path / "capture")
    names = [f"images/frame_{i + 1:05d}.png" for i in range(hand.COUNT)]
    stems = {f"img_{i}": f"frame_{i + 1:05d}" for i in range(hand.COUNT)}
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]) if app == "polycam" else np.eye(3)
    if app == "record3d":
        names, stems = [f"rgb/{i}.png" for i in range(hand.COUNT)], {}
    hand.write_images(tmp_path / "converted", names)
    shutil.copy(FOREIGN / f"nerfstudio_{app}.json", tmp_path / "converted" / "transforms.json")
    assert_same_rays(views_in(tmp_path / "converted"), views_in(tmp_path / "capture"), turn, stems)
