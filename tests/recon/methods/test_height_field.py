"""Terrain from the contours of formulas, measured against the formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import contourpy
import numpy as np
import pytest
from scipy.interpolate import LinearNDInterpolator, RegularGridInterpolator

import recon.methods.height_field as module
from recon.errors import UserError
from recon.inputs import CrossSections
from recon.methods.height_field import HeightFieldConfig, height_field
from recon.slices import Label, Plane
from recon.training import Trainer

GROUND = (Label(1, "ground", (0.5, 0.4, 0.3)),)
X, Y = np.meshgrid(np.linspace(0, 1000, 201), np.linspace(0, 800, 161), indexing="ij")


def hills(x, y):
    """Two summits of 163 and 118 and a pit of -22."""
    near = lambda a, b, r: np.exp(-((x - a) ** 2 + (y - b) ** 2) / r**2)  # noqa: E731
    return 150 * near(300, 300, 220) + 110 * near(750, 500, 180) - 60 * near(550, 150, 120) + 0.02 * x


def contours(ground: Callable, levels: np.ndarray) -> CrossSections:
    """The contour lines of a formula, as a map has them."""
    lines = contourpy.contour_generator(X.T, Y.T, ground(X, Y).T)
    planes = [
        Plane(
            np.array([0, 0, float(level)]), np.eye(3)[:2], lines=tuple(np.asarray(line) for line in lines.lines(level))
        )
        for level in levels
    ]
    return CrossSections(GROUND, tuple(plane for plane in planes if plane.lines), unit="m")


def heights_at(sections: CrossSections, resolution: int = 200) -> np.ndarray:
    mesh = height_field(sections, HeightFieldConfig(resolution=resolution), Trainer()).in_user_frame().mesh
    axes = [np.unique(mesh.vertices[:, k].round(6)) for k in (0, 1)]
    z = np.asarray(mesh.vertices)[:, 2].reshape(len(axes[0]), len(axes[1]))
    return RegularGridInterpolator(axes, z, bounds_error=False, fill_value=None)((X, Y))


def test_smooth_hills_come_back_far_better_than_by_triangulation():
    sections = contours(hills, np.arange(-40, 200, 20))
    points = np.concatenate([plane.to_world(line) for plane in sections.planes for line in plane.lines])
    linear = LinearNDInterpolator(points[:, :2], points[:, 2])(X, Y)
    hull = np.isfinite(linear)
    rms = lambda z: np.sqrt(np.mean((z - hills(X, Y))[hull] ** 2))  # noqa: E731
    assert rms(heights_at(sections)) < 0.4 * rms(linear)


def test_the_surface_is_open_and_seen_from_above():
    mesh = (
        height_field(contours(hills, np.arange(-40, 200, 20)), HeightFieldConfig(resolution=60), Trainer())
        .in_user_frame()
        .mesh
    )
    assert not mesh.is_watertight and mesh.euler_number == 1
    assert (mesh.face_normals[:, 2] > 0).all()


def mesa(x, y):
    """A table of height 100 and radius 250 with steep sides: inside the last contour the map says only "below 105"."""
    return 100 / (1 + np.exp((np.hypot(x - 500, y - 400) - 250) / 8))


def test_the_ground_stays_between_its_contours():
    mesh = height_field(contours(mesa, np.arange(5, 100, 10)), HeightFieldConfig(resolution=150), Trainer())
    heights = mesh.in_user_frame().mesh.vertices[:, 2]
    assert heights.max() < 105.01 and heights.min() > -5.01


def test_without_the_bands_it_does_not(monkeypatch: pytest.MonkeyPatch):
    everywhere = lambda lattice, *_: (np.full(lattice.shape, -np.inf), np.full(lattice.shape, np.inf))  # noqa: E731
    monkeypatch.setattr(module, "_bands", everywhere)
    mesh = height_field(contours(mesa, np.arange(5, 100, 10)), HeightFieldConfig(resolution=150), Trainer())
    heights = mesh.in_user_frame().mesh.vertices[:, 2]
    assert heights.max() > 120


def test_contours_that_contradict_each_other_are_noted():
    sound = contours(hills, np.arange(-40, 200, 20))
    config = HeightFieldConfig(resolution=150)
    assert height_field(sound, config, Trainer()).notes == ()
    across = Plane(np.array([0, 0, 60.0]), np.eye(3)[:2], lines=(np.array([[100.0, 100.0], [900.0, 700.0]]),))
    (note,) = height_field(replace(sound, contours=(*sound.contours, across)), config, Trainer()).notes
    assert "contours of different elevations cross" in note


def test_a_map_of_one_level_is_refused():
    with pytest.raises(UserError, match="at least two levels"):
        heights_at(contours(hills, np.array([60.0])))
