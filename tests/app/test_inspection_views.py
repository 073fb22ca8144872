"""What `relief inspect` tells of posed images and of photos, against what lies in the folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.inspection import describe, print_description
from recon.formats import read


def test_the_facts_of_posed_images(data_dir: Path) -> None:
    folder = data_dir / "views" / "axe"
    facts = describe(read(folder), folder, "COLMAP model")
    json.dumps(facts)
    assert facts["kind"] == "views" and facts["views"] == 13 and facts["held_out"] is None
    ((width, height),) = [(size["width"], size["height"]) for size in facts["sizes"]]
    assert 590 <= width <= 600 and 393 <= height <= 400  # undistorted from 600 x 400
    assert facts["has"] == {"mask": 13, "labels": 0, "depth": 0, "normals": 0}
    assert facts["points"] == 842 and not facts["alpha"] and facts["unposed"] == []
    assert facts["focal"]["mean"] == pytest.approx(2777.5 / 2, rel=1e-3)  # of a model of 1200 pixels across
    assert facts["field_of_view"]["mean"] == pytest.approx(24.2, abs=0.1)
    assert facts["memory_mb"] == pytest.approx(13 * width * height * 3 / 1e6)


def test_the_split_of_an_avocado(data_dir: Path) -> None:
    folder = data_dir / "views" / "avocado"
    facts = describe(read(folder), folder, "transforms.json")
    assert (facts["views"], facts["held_out"], facts["alpha"], facts["points"]) == (36, 6, True, 0)
    assert facts["sizes"] == [{"width": 256, "height": 256, "views": 36}]
    assert facts["extent"] is None and facts["up"] == [0, 0, 1]


def test_the_facts_of_photos(data_dir: Path) -> None:
    folder = data_dir / "views" / "axe" / "images"
    facts = describe(read(folder), folder, "photos")
    json.dumps(facts)
    assert facts["kind"] == "photos" and facts["photos"] == 13
    assert facts["sizes"] == [{"width": 600, "height": 400, "photos": 13}]


def test_what_is_printed(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    for name in ("views/axe", "views/avocado", "views/axe/images"):
        folder = data_dir / name
        print_description(describe(read(folder), folder, "some format"), Console(width=160))
    printed = capsys.readouterr().out
    for words in (
        "13, no split of its own",
        "36, 6 of them held out",
        "842 within",
        "mask (13)",
        "13 images are undist",
    ):
        assert words in printed
