"""What Relief reconstructs from, whatever the file it came from.

The four kinds: `CrossSections`, planes with labelled contours or pixels (and elevation contours as its open-lined
form); `PointCloud`; `Views`, images with cameras; and `Photos`, images without, which `recon.poses` turns into views.
Readers in `recon.formats` make them; methods in `recon.methods` take them.
`extent` of the first three are points of the user's space that bound what is there.

Coordinates are the user's own (float64) everywhere in this module: millimetres of the patient for medical files,
whatever the file says elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, UInt8, UInt16

from recon.slices import Label, LabelVolume, Plane
from recon.tracing import trace
from render.cameras import Camera

MOST = 0.98  # of the known points bound a scene: a few stray far away


@dataclass(frozen=True)
class CrossSections:
    """Planes with labelled contours, or the slices of a label volume.

    Exactly one of `contours` and `volume` is the source: contours were drawn (CSL, RTSTRUCT, GeoJSON), a volume was
    painted (NIfTI, NRRD, SEG, image stacks). `planes` gives contours in both cases.

    With `partition` the labels share space out among themselves: at a point of a plane the innermost ring that
    contains it decides (a hole gives back the background; where a ring fills a hole to its edge, the ring decides).
    Without it each label is a region of its own, by the even-odd rule over its own rings, and regions may overlap (a
    body and the organs in it).

    `notes` are sentences about oddities found in the file and how they were resolved.
    """

    labels: tuple[Label, ...]
    contours: tuple[Plane, ...] = ()
    volume: LabelVolume | None = None
    partition: bool = True
    unit: str = "unknown"
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def planes(self) -> tuple[Plane, ...]:
        """The contours as they were drawn, or traced around the pixels of a volume's kept slices."""
        if self.volume is None:
            return self.contours
        return trace(self.volume)

    @property
    def extent(self) -> Float64[np.ndarray, "n 3"]:
        """The vertices of all contours."""
        drawn = [
            plane.to_world(polygon)
            for plane in self.planes
            for polygon in (*(ring.vertices for ring in plane.rings), *plane.lines)
        ]
        return np.concatenate([np.zeros((0, 3)), *drawn])

    @property
    def is_terrain(self) -> bool:
        """Whether this is elevation contours: horizontal planes with open lines, to become a height field."""
        return any(plane.lines for plane in self.contours)


@dataclass(frozen=True)
class PointCloud:
    """Points that lie on surfaces, with what a scanner says about each.

    `points` are the user's coordinates, float64 also where they are large (UTM). `normals` are unit vectors, oriented
    only as well as the file's were; `colors` are sRGB; `intensity` is as the file has it; `classification` are the
    file's own classes (LAS: 2 is ground, 6 building). All are None where the file does not say.

    `notes` are sentences about oddities found in the file and how they were resolved.
    """

    points: Float64[np.ndarray, "n 3"]
    normals: Float32[np.ndarray, "n 3"] | None = None
    colors: UInt8[np.ndarray, "n 3"] | None = None
    intensity: Float32[np.ndarray, "n"] | None = None
    classification: UInt8[np.ndarray, "n"] | None = None
    unit: str = "unknown"
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    notes: tuple[str, ...] = field(default=())

    @property
    def extent(self) -> Float64[np.ndarray, "n 3"]:
        """The points."""
        return self.points

    def subset(self, which: Int[np.ndarray, "m"] | Bool[np.ndarray, "n"]) -> PointCloud:
        """The points of these indices, or where the mask is true, with all that is known of them."""
        kept = {
            name: None if values is None else values[which]
            for name in ("points", "normals", "colors", "intensity", "classification")
            for values in [getattr(self, name)]
        }
        return replace(self, **kept)


@dataclass(frozen=True)
class View:
    """One image and the camera that took it.

    `name` is the image's path relative to the input. `camera` is a pinhole in the user's coordinates; the pictures
    below are read when they are called, already undistorted to it, all `camera.height` by `camera.width`.
    `image` gives 8-bit sRGB, with a fourth channel of straight alpha where the file has one. `mask` is true where the
    image is to be looked at, `labels` holds the ids of `Views.labels`, `depth` the distance along the camera's forward
    axis in the user's unit (0 where unknown), `normals` unit vectors of the world (0 where unknown).

    `held_out` is whether the input's own split leaves it for evaluation; None where the input has no split.
    """

    name: str
    camera: Camera
    image: Callable[[], UInt8[np.ndarray, "h w _"]]
    mask: Callable[[], Bool[np.ndarray, "h w"]] | None = None
    labels: Callable[[], UInt16[np.ndarray, "h w"]] | None = None
    depth: Callable[[], Float32[np.ndarray, "h w"]] | None = None
    normals: Callable[[], Float32[np.ndarray, "h w 3"]] | None = None
    held_out: bool | None = None


@dataclass(frozen=True)
class Views:
    """Images with cameras, sorted by name.

    `points` are those that structure from motion (or the input) knows of the scene, None where it knows none.
    `labels` name the ids of the views' instance labels. `unposed` are images that are there without a camera.
    """

    views: tuple[View, ...]
    points: PointCloud | None = None
    labels: tuple[Label, ...] = ()
    unposed: tuple[str, ...] = ()
    unit: str = "unknown"
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    notes: tuple[str, ...] = field(default=())

    @property
    def extent(self) -> Float64[np.ndarray, "n 3"]:
        """The corners of the box around most of the known points; without such, where the cameras stand."""
        if self.points is None or not len(self.points.points):
            return np.array([view.camera.position for view in self.views]).reshape(-1, 3)
        return np.quantile(self.points.points, [(1 - MOST) / 2, (1 + MOST) / 2], axis=0)


@dataclass(frozen=True)
class Photo:
    """One image without a camera.

    `name` is its path relative to the input. `image` reads it upright (EXIF orientation applied), 8-bit sRGB, with a
    fourth channel where it has alpha; `mask` is true where it is to be looked at. `focal` is the focal length in
    pixels that its EXIF or its lens model tells, `position` longitude, latitude (degrees) and altitude (m) by GPS,
    `model` names camera and lens: photos of one model and size share their intrinsics.
    """

    name: str
    width: int
    height: int
    image: Callable[[], UInt8[np.ndarray, "h w _"]]
    mask: Callable[[], Bool[np.ndarray, "h w"]] | None = None
    focal: float | None = None
    position: tuple[float, float, float] | None = None
    model: str = ""


@dataclass(frozen=True)
class Photos:
    """Images without cameras. `ordered` says that neighbours in the sequence see the same (a video, numbered shots).
    `source` is the file or folder that they were read from."""

    photos: tuple[Photo, ...]
    source: Path
    ordered: bool = False
    notes: tuple[str, ...] = field(default=())


Input = CrossSections | PointCloud | Views | Photos


def distinct_color(index: int) -> tuple[float, float, float]:
    """The index-th of a sequence of well separated sRGB colours: hues by the golden angle, two lightnesses."""
    import colorsys

    hue = (0.07 + 0.61803398875 * index) % 1.0
    return colorsys.hls_to_rgb(hue, (0.58, 0.45)[index // 8 % 2], 0.55)
