"""Contours around pixels: known shapes, sheared affines, and every pixel inside the rings of its label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon.formats import SliceOptions, read
from recon.slices import LabelVolume, Plane
from recon.tracing import trace


def volume_of(labels: np.ndarray, affine: np.ndarray | None = None, axis: int = 2, every: int = 1) -> LabelVolume:
    kept = np.arange(0, labels.shape[axis], every)
    return LabelVolume(labels.astype(np.uint16), np.eye(4) if affine is None else affine, axis, kept)


def signed_area(vertices: np.ndarray) -> float:
    x, y = vertices.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def area(plane: Plane, label: int) -> float:
    """Rings less holes."""
    return sum((-1) ** ring.hole * abs(signed_area(ring.vertices)) for ring in plane.rings if ring.label == label)


def even_odd(rings: list[np.ndarray], points: np.ndarray) -> np.ndarray:
    """Whether each point is inside, by counting the edges that cross the ray to its right."""
    inside = np.zeros(len(points), bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            spans = (y0 > points[:, 1]) != (y1 > points[:, 1])
            with np.errstate(divide="ignore", invalid="ignore"):
                inside ^= spans & (points[:, 0] < x0 + (points[:, 1] - y0) * (x1 - x0) / (y1 - y0))
    return inside


def test_one_pixel_gives_a_diamond_midway_to_its_neighbours():
    labels = np.zeros((5, 6, 2))
    labels[2, 3, 1] = 4
    empty, plane = trace(volume_of(labels))
    assert empty.rings == () and empty.origin.tolist() == [0, 0, 0]
    world = plane.to_world(plane.rings[0].vertices)
    assert {tuple(point) for point in world} == {(1.5, 3, 1), (2.5, 3, 1), (2, 2.5, 1), (2, 3.5, 1)}
    assert plane.rings[0].label == 4 and not plane.rings[0].hole


def test_rings_at_the_border_are_closed_half_a_pixel_outside():
    plane = trace(volume_of(np.ones((4, 3, 2))))[0]
    assert len(plane.rings) == 1
    world = plane.to_world(plane.rings[0].vertices)
    assert world.min(0).tolist() == [-0.5, -0.5, 0] and world.max(0).tolist() == [3.5, 2.5, 0]


def test_holes_and_islands():
    labels = np.ones((9, 9, 2))
    labels[2:7, 2:7] = 0
    labels[4, 4] = 1
    rings = trace(volume_of(labels))[0].rings
    assert sorted((round(abs(signed_area(ring.vertices)), 3), ring.hole) for ring in rings) == [
        (0.5, False),
        (25 - 0.5, True),
        (81 - 0.5, False),
    ]  # squares of pixels, less the four corners of an eighth that the contour cuts


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_stand_where_the_affine_puts_their_slices(axis: int):
    """Under a rotation, a reflection, unequal spacing and shear every traced vertex, taken back to voxels, lies on a
    slice and midway between pixel centres."""
    rng = np.random.default_rng(axis)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4)) * 3
    labels = (rng.random((6, 7, 5)) < 0.5) * 3
    volume = volume_of(labels, affine, axis, every=2)
    planes = trace(volume)
    assert len(planes) == len(volume.kept)
    for index, plane in zip(volume.kept, planes, strict=True):
        np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-12)
        world = np.concatenate([plane.to_world(ring.vertices) for ring in plane.rings])
        voxels = np.linalg.solve(affine[:3, :3], (world - affine[:3, 3]).T).T
        np.testing.assert_allclose(voxels[:, axis], index, atol=1e-9)
        others = np.delete(2 * voxels, axis, axis=1)
        np.testing.assert_allclose(others, np.rint(others), atol=1e-8)
        assert ((np.rint(others) % 2 == 1).sum(1) == 1).all()


def test_a_slices_area_scales_with_its_pixels():
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    affine[0, 1] = 1.7  # shear within the slice keeps the area
    labels = np.zeros((9, 8, 2))
    labels[2:7, 3:6] = 1
    assert area(trace(volume_of(labels, affine))[0], 1) == pytest.approx(6 * (5 * 3 - 0.5))


def test_every_pixel_is_in_the_rings_of_its_own_label_alone(data_dir: Path):
    volume = read(data_dir / "slices" / "ct_abdomen.nii.gz", SliceOptions(keep_every=8)).volume
    assert volume is not None
    first, second = np.mgrid[: volume.labels.shape[0], : volume.labels.shape[1]].reshape(2, -1)
    for index, plane in zip(volume.kept, trace(volume), strict=True):
        voxels = np.column_stack([first, second, np.full(len(first), index), np.ones(len(first))])
        points = plane.to_plane((voxels @ volume.affine.T)[:, :3]) + 1e-7
        truth = volume.labels[:, :, index].ravel()
        for label in {ring.label for ring in plane.rings}:
            rings = [ring.vertices for ring in plane.rings if ring.label == label]
            np.testing.assert_array_equal(even_odd(rings, points), truth == label)


def test_a_label_fills_the_hole_of_the_one_around_it_exactly():
    labels = np.ones((8, 9, 2))
    labels[3:6, 2:7] = 2
    rings = trace(volume_of(labels))[0].rings
    hole, filling = ({tuple(v) for v in ring.vertices} for ring in rings if ring.hole or ring.label == 2)
    assert hole == filling


def test_neighbours_leave_no_room_but_where_three_meet():
    """Of 10 x 10 pixels an eighth is cut at each corner, a quarter at each of the four points where three meet."""
    labels = np.zeros((12, 12, 2))
    labels[1:11, 1:11] = 1
    labels[1:11, 9:11] = 3
    labels[4:8, 3:9] = 2
    plane = trace(volume_of(labels))[0]
    assert sum(area(plane, label) for label in (1, 2, 3)) == pytest.approx(100 - 4 / 8 - 4 / 4)


def test_two_by_two_across_pixels_do_not_overlap():
    labels = np.zeros((4, 4, 2))
    labels[1, 1] = labels[2, 2] = 1
    labels[1, 2] = labels[2, 1] = 2
    plane = trace(volume_of(labels))[0]
    assert [len([r for r in plane.rings if r.label == label]) for label in (1, 2)] == [2, 2]
    assert area(plane, 1) == area(plane, 2) == pytest.approx(1.0)
