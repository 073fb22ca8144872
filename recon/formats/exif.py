"""What a camera writes into its pictures: the lens, the focal length and the place (EXIF 2.32, CIPA DC-008)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from recon.formats.untrusted import plain

if TYPE_CHECKING:
    from PIL.Image import Exif

MAKE, MODEL = 0x010F, 0x0110
EXIF_DIRECTORY, GPS_DIRECTORY = 0x8769, 0x8825
FOCAL_LENGTH, FOCAL_LENGTH_35MM = 0x920A, 0xA405
STORED_WIDTH, STORED_HEIGHT = 0xA002, 0xA003
FOCAL_PLANE_RESOLUTION, FOCAL_PLANE_UNIT = 0xA20E, 0xA210
LENS_MODEL = 0xA434
LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE, ALTITUDE_REF, ALTITUDE = range(1, 7)

MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0}  # of EXIF's units of resolution: inch, centimetre, millimetre
FILM_DIAGONAL = math.hypot(36.0, 24.0)
PLAUSIBLE_FOCAL = (0.3, 20.0)  # in longest sides: from a fisheye's to a telephoto lens


class ShotFacts(NamedTuple):
    """`focal` is in pixels of a picture of the size asked for, `position` longitude and latitude (degrees) and altitude
    (m), `model` the camera with its lens and zoom."""

    focal: float | None = None
    position: tuple[float, float, float] | None = None
    model: str = ""


def shot_facts(exif: Exif, width: int, height: int) -> ShotFacts:
    """What the EXIF of a picture says, its focal length for a copy of `width` by `height` pixels.

    Tags that are missing, not numbers or out of reason are as if they were not there.
    """
    shot = exif.get_ifd(EXIF_DIRECTORY)
    tags = (exif.get(MAKE), exif.get(MODEL), shot.get(LENS_MODEL))
    names = [plain(tag.strip("\0 ")) for tag in tags if isinstance(tag, str)]
    length = _number(shot.get(FOCAL_LENGTH))
    zoom = [] if length is None else [f"{length:g} mm"]
    model = ", ".join(dict.fromkeys([*filter(None, names), *zoom]))
    return ShotFacts(_focal(shot, length, width, height), _position(exif.get_ifd(GPS_DIRECTORY)), model)


def _number(tag: Any) -> float | None:
    """The tag as a finite number."""
    try:
        value = float(tag)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) else None


def _focal(shot: Mapping[int, Any], length: float | None, width: int, height: int) -> float | None:
    """The focal length in pixels: by the one that gives the same view on film of 36 x 24 mm (diagonal to diagonal), or
    else by the pixels per length on the sensor."""
    film = _number(shot.get(FOCAL_LENGTH_35MM))
    density = _number(shot.get(FOCAL_PLANE_RESOLUTION))
    unit = MILLIMETRES.get(shot.get(FOCAL_PLANE_UNIT, 2))
    stored = max(_number(shot.get(STORED_WIDTH)) or 0.0, _number(shot.get(STORED_HEIGHT)) or 0.0)
    longest = max(width, height)
    candidates = []
    if film:
        candidates.append(film / FILM_DIAGONAL * math.hypot(width, height))
    if length and density and unit and stored:
        candidates.append(length / unit * density * longest / stored)
    least, most = PLAUSIBLE_FOCAL
    return next((focal for focal in candidates if least < focal / longest < most), None)


def _position(gps: Mapping[int, Any]) -> tuple[float, float, float] | None:
    """Longitude, latitude, altitude (0 where it is not told). Devices that do not know where they are write (0, 0)."""
    latitude, longitude = _degrees(gps.get(LATITUDE)), _degrees(gps.get(LONGITUDE))
    if latitude is None or longitude is None or (latitude, longitude) == (0.0, 0.0):
        return None
    latitude = -latitude if gps.get(LATITUDE_REF) == "S" else latitude
    longitude = -longitude if gps.get(LONGITUDE_REF) == "W" else longitude
    altitude = _number(gps.get(ALTITUDE)) or 0.0
    altitude = -altitude if gps.get(ALTITUDE_REF) in (1, b"\x01") else altitude
    return (longitude, latitude, altitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def _degrees(tag: Any) -> float | None:
    """Degrees, minutes and seconds as degrees."""
    parts = [_number(part) for part in tag] if isinstance(tag, (tuple, list)) else [_number(tag)]
    if not parts or any(part is None for part in parts):
        return None
    return sum(part / 60**power for power, part in enumerate(parts) if part is not None)
