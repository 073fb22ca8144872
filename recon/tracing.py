"""Contours around the pixels of a label volume's slices.

Around a label the indicator function (1 on its pixels, 0 elsewhere, linear between pixel centres) is cut at one half:
the contour runs midway between a pixel of the label and its neighbour of another, and cuts corners. Labels that touch
share their contour; only around a point where pixels of three or more labels meet, or two by two across, a piece of at
most half a pixel belongs to none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float64, UInt16

from recon.slices import LabelVolume, Plane, Ring


def trace(volume: LabelVolume) -> tuple[Plane, ...]:
    """A plane for each kept slice, with the rings of every label on it; a slice of background has none.

    Coordinates are the user's, through the volume's affine. Where the affine is sheared in the slice, the in-plane axes
    are made orthogonal: u runs along the first array axis of the slice (the axes after `volume.axis`, in cyclic order),
    v within the slice.
    """
    first, second = (volume.axis + 1) % 3, (volume.axis + 2) % 3
    steps = volume.affine[:3, :3].T  # steps[k]: from a voxel to the next along array axis k
    axes = _orthonormal(steps[first], steps[second])
    to_plane = steps[[first, second]] @ axes.T  # pixel (b, c) stands at (b, c) @ to_plane from the slice's first pixel
    planes = []
    for index in volume.kept:
        pixels = np.moveaxis(volume.labels, (volume.axis, first, second), (0, 1, 2))[index]
        rings = tuple(Ring(ring.vertices @ to_plane, ring.label, ring.hole) for ring in _pixel_rings(pixels))
        planes.append(Plane(volume.affine[:3, 3] + index * steps[volume.axis], axes, rings))
    return tuple(planes)


def _orthonormal(first: Float64[np.ndarray, "3"], second: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "2 3"]:
    """Gram and Schmidt's unit vectors of the plane that two directions span."""
    u = first / np.linalg.norm(first)
    v = second - (second @ u) * u
    return np.stack([u, v / np.linalg.norm(v)])


def _pixel_rings(pixels: UInt16[np.ndarray, "rows columns"]) -> Iterator[Ring]:
    """The rings of all labels, vertices as (row, column), each label traced in its own box."""
    from scipy.ndimage import find_objects

    for label, box in enumerate(find_objects(pixels.astype(np.int32)), start=1):
        if box is None:
            continue
        corner = np.array([side.start for side in box], np.float64)
        for polygon in _filled_contours(pixels[box] == label):
            for index, vertices in enumerate(polygon):
                yield Ring(vertices + corner, label, hole=index > 0)


def _filled_contours(mask: Bool[np.ndarray, "rows columns"]) -> Iterator[list[Float64[np.ndarray, "_ 2"]]]:
    """The polygons of the region where the mask's indicator exceeds one half: outer ring first, then its holes."""
    from contourpy import FillType, contour_generator

    indicator = np.pad(mask, 1).astype(np.float64)  # the margin closes rings at the box's edge
    generator = contour_generator(z=indicator, name="serial", fill_type=FillType.OuterOffset)
    for points, offsets in zip(*generator.filled(0.5, np.inf), strict=True):
        rows_columns = points[:, ::-1] - 1  # contourpy gives (column, row) of the padded array
        yield [rows_columns[start : end - 1] for start, end in zip(offsets[:-1], offsets[1:], strict=True)]
