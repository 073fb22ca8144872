"""GeoJSON contours written by hand, and real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.errors import UserError
from recon.formats import SliceOptions, geojson
from recon.inputs import CrossSections


def feature(coordinates: Any, kind: str = "LineString", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}}


def read(tmp_path: Path, features: list, unit: str | None = None, **members: Any) -> CrossSections:
    path = tmp_path / "contours.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **members}))
    return geojson.read(path, SliceOptions(unit=unit))


LINES = [feature([[0, 0], [100, 0], [200, 50]], elevation=10), feature([[0, 100], [250, 100]], elevation=20)]


def test_lines_become_horizontal_planes(tmp_path: Path):
    sections = read(tmp_path, LINES, unit="m")
    low, high = sections.planes
    np.testing.assert_allclose(low.to_world(low.lines[0]), [[0, 0, 10], [100, 0, 10], [200, 50, 10]])
    np.testing.assert_allclose(high.to_world(high.lines[0]), [[0, 100, 20], [250, 100, 20]])
    assert sections.is_terrain and sections.unit == "m" and sections.notes == ()
    assert read(tmp_path, LINES).unit == "unknown"


@pytest.mark.parametrize("name", ["elevation", "ELEV", "ele", "Height", "z", "CONTOUR"])
def test_usual_names_of_the_elevation(tmp_path: Path, name: str):
    lines = [feature([[0, 0], [500, 0]], **{name: 1}), feature([[0, 9], [500, 9]], **{name: "2.5"})]
    assert [plane.origin[2] for plane in read(tmp_path, lines).planes] == [1, 2.5]


def test_all_kinds_of_lines(tmp_path: Path):
    ring = [[0, 0], [300, 0], [300, 300], [0, 0]]
    features = [
        feature([ring], "Polygon", elevation=1),
        feature([[ring, ring], [ring]], "MultiPolygon", elevation=2),
        feature([ring[:2], ring[1:3]], "MultiLineString", elevation=3),
        feature([[0, 0, 4], [300, 1, 4]], note="the third coordinate counts"),
        feature([5, 5], "Point", elevation=5),
        feature([[0, 0, 4], [300, 1, 5]]),
        feature([[7, 7], [7, 7]], elevation=6),
        {"type": "Feature", "properties": None, "geometry": None},
    ]
    sections = read(tmp_path, features)
    assert [(plane.origin[2], len(plane.lines)) for plane in sections.planes] == [(1, 1), (2, 3), (3, 2), (4, 1)]
    np.testing.assert_array_equal(sections.planes[0].lines[0], ring)
    told = " ".join(sections.notes)
    assert "type Point" in told and "single point, left out: 1 (feature 7)" in told
    assert "without an elevation, left out: 1 (feature 6)" in told and "type None" in told


def test_degrees_become_metres_on_the_ellipsoid(tmp_path: Path):
    """At 45 degrees north a degree of latitude is 111,131.8 m and one of longitude 78,846.8 m long (WGS 84)."""
    lines = [
        feature([[6.95, 44.95], [7.05, 44.95]], ele=1000),
        feature([[6.95, 45.05], [7.05, 45.05]], ele=1100),
    ]
    sections = read(tmp_path, lines)
    south, north = (plane.to_world(plane.lines[0]) for plane in sections.planes)
    assert south[1, 0] - south[0, 0] == pytest.approx(0.1 * 78846.8, rel=1e-5)
    assert north[0, 1] - south[0, 1] == pytest.approx(0.1 * 111131.8, rel=1e-5)
    assert south[:, 2].tolist() == [1000, 1000] and sections.unit == "m"
    assert "(7.000000, 45.000000)" in sections.notes[0] and "metres east and north" in sections.notes[0]


@pytest.mark.parametrize(
    ("coordinates", "members", "converted"),
    [
        ([[7.01, 45.1], [7.02, 45.1]], {}, True),
        ([[7.01, 45.1], [7.02, 45.1]], {"crs": {"properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}, True),
        ([[7, 45], [107, 45]], {"crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}}, True),
        ([[7.01, 45.1], [7.02, 45.1]], {"crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}}, False),
        ([[7.01, 45.1], [7.02, 45.1]], {"crs": None}, False),
        ([[7, 45], [8, 46]], {}, False),
        ([[0.5, 0.5], [80.5, 60.5]], {}, False),
        ([[389_000.5, 5_000_000.5], [389_001.5, 5_000_000.5]], {}, False),
    ],
)
def test_only_degrees_are_converted(tmp_path: Path, coordinates: list, members: dict, converted: bool):
    lines = [feature(coordinates, elevation=1), feature(coordinates, elevation=2)]
    assert (read(tmp_path, lines, **members).notes != ()) == converted


def test_the_real_contours(data_dir: Path):
    sections = geojson.read(data_dir / "slices" / "st_helens.geojson", SliceOptions())
    assert len(sections.planes) == 37 and sum(len(plane.lines) for plane in sections.planes) == 128
    assert [plane.origin[2] for plane in sections.planes] == list(range(700, 2501, 50))
    np.testing.assert_allclose(sections.planes[0].lines[0][:2], [[5350.6, 0.0], [5355.0, 30.0]])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"garbage", "is not sound JSON"),
        (b"\xff\xfe{}", "is not sound JSON"),
        (b"[" * 100_000, "is not sound JSON"),
        (b'{"type": "FeatureCollection", "features": [NaN]}', "is not sound JSON"),
        (b"{}", "is not GeoJSON of contours"),
        (b"[1, 2]", "is not GeoJSON of contours"),
        (b'{"type": "FeatureCollection", "features": 3}', "is not GeoJSON of contours"),
        (b'{"type": "FeatureCollection", "features": [3]}', "is not GeoJSON of contours"),
        (b'{"type": "FeatureCollection", "features": []}', "no line has an elevation"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: bytes, says: str):
    path = tmp_path / "a.geojson"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        geojson.read(path, SliceOptions())


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ([feature([[0, 0], [1, 1]], name="a", width=3)], r"the properties are: name, width"),
        ([feature([[0, 0], [900, 1]], elevation=3)], "all its lines have the same elevation"),
        ([feature([[0, 0], [1e999, 1]], elevation=3)], "is not sound JSON|two or three finite numbers"),
        ([feature([[0, 0], "ab"], elevation=3)], "feature 1: a line should be a list of points"),
        ([feature([[0, 0], [1, 2, 3, 4]], elevation=3)], "feature 1: a line should be a list of points"),
        ([feature(7, "MultiPolygon", elevation=3)], "feature 1: the coordinates of its MultiPolygon"),
        ([feature([3], "MultiPolygon", elevation=3)], "feature 1: the coordinates of its MultiPolygon"),
        ([feature(None, elevation=3)], "feature 1: a line should be a list of points"),
    ],
)
def test_wrong_features_are_one_sentence(tmp_path: Path, features: list, says: str):
    with pytest.raises(UserError, match=says):
        read(tmp_path, features)
