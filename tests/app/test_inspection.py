"""What `relief inspect` tells of known inputs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from app.inspection import describe, print_description
from recon.formats import SliceOptions, format_of, read
from recon.inputs import CrossSections
from recon.slices import Label, LabelVolume, Plane, Ring


def facts_of(path: Path, **options: object) -> dict[str, Any]:
    facts = describe(read(path, SliceOptions(**options)), path, format_of(path).name)
    assert json.loads(json.dumps(facts)) == facts
    return facts


def printed(facts: dict[str, Any]) -> str:
    stream = io.StringIO()
    print_description(facts, Console(file=stream, width=120))
    return stream.getvalue()


def test_contours(data_dir: Path):
    facts = facts_of(data_dir / "slices" / "eight_parallel12.csl")
    assert (facts["planes"], facts["contours"], facts["contour_vertices"]) == (12, 18, 1699)
    assert facts["kind"] == "contours" and facts["parallel"] and facts["volume"] is None
    assert facts["plane_distance"]["least"] == pytest.approx(facts["plane_distance"]["greatest"], rel=1e-6)
    assert not facts_of(data_dir / "slices" / "mammoth_oblique18.csl")["parallel"]


def test_a_label_volume(data_dir: Path):
    facts = facts_of(data_dir / "slices" / "ct_abdomen.nii.gz", keep_every=3)
    assert facts["volume"]["kept_slices"] == facts["planes"] == 10 and facts["volume"]["left_out_slices"] == 18
    assert facts["volume"]["voxel_size"] == pytest.approx([3, 3, 3]) and facts["unit"] == "mm"
    assert facts["plane_distance"]["median"] == pytest.approx(9)
    spleen = facts["labels"][0]
    assert (spleen["name"], spleen["color"], spleen["planes"]) == ("spleen", "#00ff00", 10)
    text = printed(facts)
    assert "122 x 101 x 30 of 3 x 3 x 3 mm" in text and "spleen" in text and "note: The header states no unit" in text


def test_terrain(data_dir: Path):
    facts = facts_of(data_dir / "slices" / "st_helens.geojson")
    assert facts["kind"] == "terrain" and facts["contours"] == 128
    assert facts["extent"]["low"][2] == 700 and facts["extent"]["high"][2] == 2500
    assert "unknown (--unit tells it)" in printed(facts)


def test_every_count_of_a_made_up_input():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    rings = (Ring(square, 1), Ring(square * 0.5 + 0.2, 1, hole=True), Ring(square + 5, 2))
    planes = (
        Plane(np.zeros(3), np.eye(3)[:2], rings),
        Plane(np.array([0, 0, 2.0]), np.eye(3)[:2]),
        Plane(np.array([0, 0, 5.0]), -np.eye(3)[1::-1], rings[2:]),
    )
    labels = (Label(1, "[bold]one", (1, 0.5, 0)), Label(2, "two", (0, 0, 1)))
    facts = describe(CrossSections(labels, planes, notes=("[red]odd",)), Path("made.up"), "CSL contours")
    assert facts["empty_planes"] == 1 and facts["parallel"]
    assert facts["plane_distance"] == {"least": 2.0, "median": 2.5, "greatest": 3.0}
    assert facts["extent"] == {"low": [-6, -6, 0], "high": [6, 6, 5], "size": [12, 12, 5]}
    assert [(label["planes"], label["contours"], label["holes"]) for label in facts["labels"]] == [(1, 1, 1), (2, 2, 0)]
    assert facts["labels"][0]["color"] == "#ff8000"
    text = printed(facts)
    assert "[bold]one" in text and "note: [red]odd" in text and "2 to 3 apart" in text


def test_thousands_of_labels_are_counted_and_the_first_shown():
    voxels = np.kron(np.arange(1, 2001).reshape(20, 10, 10), np.ones((2, 2, 1), int)).astype(np.uint16)
    volume = LabelVolume(voxels, np.eye(4), 2, np.arange(10))
    labels = tuple(Label(k, f"label {k}", (0, 0, 0)) for k in range(1, 2001))
    facts = describe(CrossSections(labels, volume=volume), Path("many.nii"), "NIfTI label volume")
    assert len(facts["labels"]) == 2000 and all(label["contours"] == 1 for label in facts["labels"])
    text = printed(facts)
    assert "2000 labels, the first 60" in text and "label 61" not in text
