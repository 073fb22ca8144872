"""GeoJSON elevation contours (RFC 7946): lines of equal height on a map, to become a terrain.

Every elevation is a horizontal plane at that height with the lines drawn at it; the rings of polygons are lines that
end where they start. The elevation is the feature's property of a usual name, else the lines' third coordinate.

Longitudes and latitudes are turned into metres about the middle (lambda0, phi0) of the map, with the radii of curvature
of the WGS 84 ellipsoid there: x = N cos(phi0) (lambda - lambda0) eastward, y = M (phi - phi0) northward.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float64

from recon.errors import UserError
from recon.formats import SliceOptions
from recon.formats.outlines import Remarks
from recon.formats.untrusted import LARGEST_COORDINATE, are_coordinates, plain, read_whole
from recon.inputs import CrossSections
from recon.slices import Label, Plane

ELEVATION_NAMES = ("elevation", "ele", "elev", "height", "altitude", "contour", "level", "z")
GEOGRAPHIC = ("CRS84", ":4326", ":4979", ":4269", ":4258")  # ends of names of systems of longitude and latitude
LARGEST_MAP = 10.0  # degrees; contours of a wider map are not read as degrees unless the file says so
WGS84_RADIUS, WGS84_ECCENTRICITY_SQUARED = 6378137.0, 6.69437999014e-3
TERRAIN = Label(1, "terrain", (0.60, 0.52, 0.40))


def read(path: Path, options: SliceOptions) -> CrossSections:
    """The contour lines of a GeoJSON file as horizontal planes, z upward; x and y are the file's own or, for longitude
    and latitude, metres.

    Raises:
        UserError: it is no GeoJSON, no line has an elevation, fewer than two elevations, or a coordinate that is no
            finite number.
    """
    try:
        content = msgspec.json.decode(read_whole(path))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is not sound JSON ({plain(error)}); the file is damaged or cut short") from error
    remarks = Remarks(path)
    heights: dict[float, list[Float64[np.ndarray, "_ 2"]]] = defaultdict(list)
    names: set[str] = set()
    for number, feature in enumerate(_features(path, content), start=1):
        properties = feature.get("properties") or {}
        names |= set(properties)
        for points in _lines(feature.get("geometry"), f"feature {number}", remarks):
            elevation = _elevation(properties, points)
            if elevation is None:
                remarks.add("Lines without an elevation, left out", f"feature {number}")
            else:
                heights[elevation].append(points[:, :2])
    if len(heights) < 2:
        raise UserError(_too_few(path, len(heights), names))
    lines, converted = _in_metres(content, heights)
    planes = tuple(
        Plane(np.array([0.0, 0.0, elevation]), np.eye(3)[:2], lines=tuple(lines[elevation]))
        for elevation in sorted(lines)
    )
    unit = "m" if converted else options.unit or "unknown"
    return CrossSections((TERRAIN,), planes, unit=unit, notes=converted + remarks.sentences())


def _features(path: Path, content: Any) -> list[dict[str, Any]]:
    """The features of a collection, or the one that the file is."""
    kind = content.get("type") if isinstance(content, dict) else None
    features = content.get("features") if kind == "FeatureCollection" else [content] if kind == "Feature" else None
    if not isinstance(features, list) or not all(map(_is_feature, features)):
        raise UserError(f"{path}: is not GeoJSON of contours: it should be a FeatureCollection of lines")
    return features


def _is_feature(feature: Any) -> bool:
    return isinstance(feature, dict) and isinstance(feature.get("properties") or {}, dict)


def _lines(geometry: Any, place: str, remarks: Remarks) -> Iterator[Float64[np.ndarray, "_ _"]]:
    """The polylines of a geometry, (n, 2) or (n, 3)."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    nested = {"LineString": 0, "MultiLineString": 1, "Polygon": 1, "MultiPolygon": 2}.get(kind or "")
    if nested is None:
        remarks.add(f"Features of type {plain(kind)}, which are no contour lines, left out", place)
        return
    strings: list[Any] = [geometry.get("coordinates")]
    for _ in range(nested):
        if not all(isinstance(string, list) for string in strings):
            raise remarks.wrong(place, f"the coordinates of its {kind} should be a list of lists of points")
        strings = [line for string in strings for line in string]
    for string in strings:
        try:
            points = np.array(string, np.float64)
        except (ValueError, TypeError):
            points = np.empty((0, 0))
        if points.ndim != 2 or points.shape[1] not in (2, 3) or not are_coordinates(points):
            raise remarks.wrong(place, "a line should be a list of points of two or three finite numbers each")
        if len(points) < 2 or not np.ptp(points[:, :2], axis=0).any():
            remarks.add("Lines of a single point, left out", place)
            continue
        yield points


def _elevation(properties: Mapping[str, Any], points: Float64[np.ndarray, "n d"]) -> float | None:
    """The height from a property, else from a third coordinate that is the same for all points."""
    by_name = {name.lower(): value for name, value in properties.items()}
    for name in ELEVATION_NAMES:
        try:
            elevation = float(by_name.get(name))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if abs(elevation) <= LARGEST_COORDINATE:
            return elevation
    if points.shape[1] == 3 and np.ptp(points[:, 2]) == 0:
        return float(points[0, 2])
    return None


def _too_few(path: Path, heights: int, names: set[str]) -> str:
    if heights == 1:
        return f"{path}: all its lines have the same elevation; a terrain needs at least two"
    found = plain(", ".join(sorted(names)[:8])) or "none"
    return (
        f"{path}: no line has an elevation: it should be the third coordinate or a property called "
        f"{', '.join(ELEVATION_NAMES)} (the properties are: {found})"
    )


def _in_metres(
    content: dict[str, Any], heights: Mapping[float, Sequence[Float64[np.ndarray, "_ 2"]]]
) -> tuple[Mapping[float, Sequence[Float64[np.ndarray, "_ 2"]]], tuple[str, ...]]:
    """The lines in metres and a note that says so, where they are longitudes and latitudes; else as they are."""
    everything = np.concatenate([line for lines in heights.values() for line in lines])
    low, high = everything.min(0), everything.max(0)
    if not _is_geographic(content, everything):
        return heights, ()
    middle = (low + high) / 2
    phi = np.radians(middle[1])
    bend = 1 - WGS84_ECCENTRICITY_SQUARED * np.sin(phi) ** 2
    across = WGS84_RADIUS / np.sqrt(bend)  # N, radius of curvature east to west
    along = WGS84_RADIUS * (1 - WGS84_ECCENTRICITY_SQUARED) / bend**1.5  # M, south to north
    scale = np.radians(1) * np.array([across * np.cos(phi), along])
    note = (
        "Longitudes and latitudes are turned into metres east and north of "
        f"({middle[0]:.6f}, {middle[1]:.6f}); elevations are taken as metres."
    )
    return {height: [(line - middle) * scale for line in lines] for height, lines in heights.items()}, (note,)


def _is_geographic(content: dict[str, Any], points: Float64[np.ndarray, "n 2"]) -> bool:
    """Whether x and y are degrees: the file names such a reference system; or it names none, and the map is small, in
    the range of longitude and latitude, and has fractions (a file with "crs": null has coordinates of its own).
    """
    if (np.abs(points) > (180, 90)).any():
        return False
    if "crs" in content:
        crs = content["crs"]
        stated = crs.get("properties") if isinstance(crs, dict) else None
        name = stated.get("name") if isinstance(stated, dict) else None
        return isinstance(name, str) and name.endswith(GEOGRAPHIC)
    return bool(np.ptp(points, axis=0).max() <= LARGEST_MAP and (points != np.rint(points)).any())
