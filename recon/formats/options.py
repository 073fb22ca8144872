"""How an input's files are to be understood: a class of options for each kind of input, from which the flags are made.

The classes are tagged, so that a run's record says which of them it holds.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class SliceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="slices", tag_field="of"):
    """How to understand files of slices."""

    keep_every: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Use every k-th slice of a label volume and compare the result with the rest."""
    axis: int | None = None
    """Array axis (0, 1, 2) that the slices of a label volume run along; by default the coarsest."""
    spacing: tuple[float, float, float] | None = None
    """Voxel size of an image stack: column step, row step, slice step, in --unit."""
    unit: str | None = None
    """Unit of length of the input's coordinates (mm, m) where the file does not say."""
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = None
    """Which way is up, also in what is made of the slices; by default what the format says, or z. Write --up=-y."""


class PointOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="points", tag_field="of"):
    """How to understand files of points, and which of the points to take. The steps follow each other in this order."""

    unit: str | None = None
    """Unit of length of the input's coordinates (mm, m) where the file does not say."""
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = None
    """Which way is up, also in what is made of the points; by default what the file says, or z. Write --up=-y."""
    columns: str | None = None
    """What the columns of a text or array file hold, with commas: x,y,z,nx,ny,nz,r,g,b,intensity,class or skip."""
    classes: str | None = None
    """Take the points of these classes only (LAS: 2 is ground, 6 building), with commas."""
    crop: str | None = None
    """Take the points in this box only: xmin,ymin,zmin,xmax,ymax,zmax."""
    thin: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Take one point from each cube of this side, the one nearest to the middle of those in it."""
    drop_outliers: Annotated[float, msgspec.Meta(gt=1)] | None = None
    """Drop points whose mean distance to their 16 nearest exceeds this many times the median; 3 is usual."""
    sample: Annotated[int, msgspec.Meta(ge=4)] | None = None
    """Take this many points at random, always the same ones."""


class SplitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which images are trained on and which are held out to compare with (`recon.split`)."""

    train_views: str | None = None
    """Images to train on: indices in their sorted order from 0, or names, with commas; by default all not held out."""
    test_views: str | None = None
    """Images to hold out. By default what the input says, else every 8th, or the rest of --train-views."""


class PhotoOptions(SplitOptions, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="photos", tag_field="of"):
    """How to understand images without cameras."""

    max_size: Annotated[int, msgspec.Meta(ge=16)] = 1600
    """Reduce photos whose longer side has more pixels than this to as many."""


class ViewOptions(SplitOptions, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="views", tag_field="of"):
    """How to understand files of posed images."""

    unit: str | None = None
    """Unit of length of the cameras' positions (mm, m) where the file does not say."""
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = None
    """Which way is up; by default what the format knows, or what the cameras suggest. Write --up=-y."""
    images: str | None = None
    """Folder of the images, where they are not beside their cameras."""
    max_size: Annotated[int, msgspec.Meta(ge=16)] = 1600
    """Reduce images whose longer side has more pixels than this to as many."""
    calibrated_width: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Width in pixels of the images that projection matrices were made for, where the images were reduced since."""


InputOptions = SliceOptions | PointOptions | ViewOptions | PhotoOptions
