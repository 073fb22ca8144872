"""What `relief inspect` tells of clouds."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from app.inspection import describe, print_description
from recon.formats import PointOptions, format_of, read
from recon.inputs import PointCloud


def facts_of(path: Path, **options: object) -> dict[str, Any]:
    facts = describe(read(path, PointOptions(**options)), path, format_of(path).name)
    assert json.loads(json.dumps(facts)) == facts
    return facts


def printed(facts: dict[str, Any]) -> str:
    stream = io.StringIO()
    print_description(facts, Console(file=stream, width=140))
    return stream.getvalue()


def test_an_airborne_scan(data_dir: Path):
    facts = facts_of(data_dir / "points" / "autzen.laz")
    assert (facts["kind"], facts["points"], facts["unit"]) == ("points", 110_000, "unknown")
    assert facts["far_from_origin"] and facts["classes"] == {"1": 83893, "2": 26107}
    assert facts["extent"]["low"] == pytest.approx([636001.76, 848935.2, 406.26])
    text = printed(facts)
    assert "ground (2): 26,107" in text and "in the unit foot" in text and "far away" in text
    assert len(facts_of(data_dir / "points" / "autzen.laz", classes="2", thin=20.0)["notes"]) == 3


def test_noise_is_seen(data_dir: Path):
    clean, noisy = (facts_of(data_dir / "points" / f"tshirt{name}.ply") for name in ("", "_noisy"))
    assert "thin beside the spacing" in printed(clean) and "noisy beside the spacing" in printed(noisy)
    diagonal = np.linalg.norm(clean["extent"]["size"])
    assert 0.6 * 0.005 * diagonal < noisy["roughness"] < 1.2 * 0.005 * diagonal  # its noise is 0.5 % of the diagonal
    assert clean["spacing"]["low"] < clean["spacing"]["median"] < clean["spacing"]["high"]


def test_every_figure_of_a_made_up_cloud():
    x, y = np.meshgrid(np.arange(40.0), np.arange(30.0))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(1200)], axis=1)
    cloud = PointCloud(np.concatenate([points, points[:2]]), colors=np.zeros((1202, 3), np.uint8), unit="mm")
    facts = describe(cloud, Path("grid.ply"), "PLY points")
    assert facts["repeated"] == 2 and facts["spacing"]["median"] == 1 and facts["roughness"] < 1e-9
    assert facts["extent"] == {"low": [0, 0, 0], "high": [39, 29, 0], "size": [39, 29, 0]}
    assert 1 <= facts["density_ratio"] < 2 and facts["colors"] and not facts["normals"] and facts["intensity"] is None
    text = printed(facts)
    assert "39 x 29 x 0 mm" in text and "has        colors" in text and "1,202" in text


def test_four_points():
    facts = describe(PointCloud(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]])), Path("a.xyz"), "text points")
    assert facts["points"] == 4 and facts["spacing"]["median"] == 1 and "coordinates alone" in printed(facts)
