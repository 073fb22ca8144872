"""Photos get their cameras once, in a folder that serves every method and every split; and again after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from splat_scene import views_of_balls

import recon.poses
from app.run_input import given, input_again
from app.runs import InputRecord, Request, RunRecord, digest, write_record
from app.viewer.content import load
from recon.formats import read
from recon.formats.options import PhotoOptions
from recon.inputs import Photos, Views


@pytest.fixture
def photos(tmp_path: Path, monkeypatch) -> Path:
    """A folder of ten photos, beside which runs are written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "party").mkdir()
    for number in range(10):
        Image.fromarray(np.full((40, 60, 3), 20 * number, np.uint8)).save(tmp_path / "party" / f"{number}.jpg")
    return Path("party")


@pytest.fixture
def solved(monkeypatch) -> list[Path]:
    """Stands in for structure from motion: cameras of a ring, and the folders that it was asked to find them in."""
    folders: list[Path] = []

    def poses(photos: Photos, folder: Path) -> Views:
        kept = folder / "kept"
        if not kept.exists():
            folders.append(folder)
            kept.write_text(photos.photos[0].name)
        return views_of_balls(10)

    monkeypatch.setattr(recon.poses, "poses", poses)
    return folders


def source(path: Path, **options: str) -> InputRecord:
    return InputRecord((str(path),), digest(path), PhotoOptions(**options))


def held_out(views: object) -> list[int]:
    assert isinstance(views, Views)
    return [number for number, view in enumerate(views.views) if view.held_out]


def test_cameras_are_found_once_for_every_split(photos: Path, solved: list[Path]):
    input = read(photos, PhotoOptions())
    first = given(input, source(photos))
    assert held_out(first.input) == [0, 5] and first.poses == Path("runs/party-poses")
    second = given(input, source(photos, test_views="3,4"))
    assert held_out(second.input) == [3, 4] and second.poses == first.poses
    assert solved == [Path("runs/party-poses")]
    record = json.loads(Path("runs/party-poses/run.json").read_text())
    assert record["status"] == "done" and record["method"] == "poses"


def test_the_same_photos_named_by_another_path_have_the_same_cameras(photos: Path, solved: list[Path]):
    given(read(photos, PhotoOptions()), source(photos))
    absolute = photos.resolve()
    assert given(read(absolute, PhotoOptions()), source(absolute)).poses == Path("runs/party-poses")
    assert len(solved) == 1


def test_other_photos_under_the_same_name_have_a_folder_of_their_own(photos: Path, solved: list[Path]):
    given(read(photos, PhotoOptions()), source(photos))
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(photos / "new.jpg")
    assert given(read(photos, PhotoOptions()), source(photos)).poses == Path("runs/party-poses-2")
    assert len(solved) == 2


def test_a_stop_is_recorded_and_the_same_call_goes_on(photos: Path, solved: list[Path], monkeypatch):
    working = recon.poses.poses

    def stopped(photos: Photos, folder: Path) -> Views:
        raise KeyboardInterrupt("stopped after matching")

    monkeypatch.setattr(recon.poses, "poses", stopped)
    input = read(photos, PhotoOptions())
    with pytest.raises(KeyboardInterrupt):
        given(input, source(photos))
    assert json.loads(Path("runs/party-poses/run.json").read_text())["status"] == "stopped"
    monkeypatch.setattr(recon.poses, "poses", working)
    assert given(input, source(photos)).poses == Path("runs/party-poses")
    assert json.loads(Path("runs/party-poses/run.json").read_text())["status"] == "done"


def test_a_run_finds_its_photos_and_cameras_again(photos: Path, solved: list[Path]):
    read_as = source(photos, test_views="3,4")
    ready = given(read(photos, PhotoOptions()), read_as)
    request = Request(read_as, "splats", {}, 0, "cpu", None)
    record = RunRecord("done", read_as, "splats", {}, 0, "cpu", request, {}, poses=str(ready.poses))
    write_record(Path("runs/party-splats"), record)
    assert held_out(input_again(Path("runs/party-splats"))) == [3, 4]
    assert held_out(load(Path("runs/party-poses")).input) == [0, 5]  # the viewer shows the cameras themselves
    Path("runs/party-poses").rename("elsewhere")
    assert input_again(Path("runs/party-splats")) is None  # without its cameras the input is not there
    Path("elsewhere").rename("runs/party-poses")
    (photos / "0.jpg").unlink()
    assert input_again(Path("runs/party-splats")) is None
    assert len(solved) == 1
