"""From voxels in a file to the slices of a label volume: what the readers of NIfTI, NRRD, SEG and image stacks share.

Voxels are streamed: the decompressed file is never whole in memory, only the labels are, as uint16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BufferedIOBase
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int, Shaped, UInt16

from recon.errors import UserError
from recon.formats import SliceOptions
from recon.formats.labels import Color, label_table
from recon.formats.untrusted import failures_named
from recon.inputs import CrossSections
from recon.slices import LabelVolume

MAX_VOXELS = 10**9
MAX_LABEL = 65_535
CHUNK_BYTES = 16 << 20

MANY_LABELS = 16
SPECKLE = 0.15
"""In a label map a voxel's neighbour mostly has the same label. Where that share, of the median label of many, is less
than this, the voxels are grey values: it is .75 for 41 organs in voxels of 3 mm (.22 where every 4th voxel is taken),
.92 for the nuclei of a brain at .5 mm, and at most .1 for CT at 6 to 12 bits and for masks with blurred edges."""


def check_shape(path: Path, shape: Sequence[int]) -> None:
    """Refuses sizes that are no volume or too large, before anything is allocated.

    Raises:
        UserError: not three axes of at least one voxel, or more than `MAX_VOXELS` voxels.
    """
    written = " x ".join(str(size) for size in shape)
    if len(shape) != 3 or min(shape) < 1:
        raise UserError(f"{path}: its size is {written or 'not given'}; a label volume has three axes")
    if prod(shape) > MAX_VOXELS:
        raise UserError(
            f"{path}: {written} voxels are more than the {MAX_VOXELS:,} that fit; crop or resample it first"
        )


def read_voxels(
    path: Path,
    stream: BufferedIOBase,
    dtype: np.dtype,
    shape: Sequence[int],
    rescale: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Shaped[np.ndarray, "nx ny nz"]:
    """Label ids (uint16, or uint32 where one needs it) from a stream of voxels, first axis fastest.

    `rescale` maps stored values to labels, where the header asks for it.

    Raises:
        UserError: the stream ends early or is damaged, or a value is no label id (see `as_label_ids`).
    """
    count = prod(shape)
    flat = np.zeros(count, np.uint16)
    step = CHUNK_BYTES // dtype.itemsize
    for start in range(0, count, step):
        size = min(step, count - start)
        with failures_named(path):
            data = stream.read(size * dtype.itemsize)
        if len(data) < size * dtype.itemsize:
            found = start + len(data) // dtype.itemsize
            raise UserError(f"{path}: its header promises {count} voxels, but the data end after {found}")
        values = np.frombuffer(data, dtype)
        ids = as_label_ids(path, values if rescale is None else rescale(values))
        if ids.dtype.itemsize > flat.dtype.itemsize:
            flat = flat.astype(ids.dtype)
        flat[start : start + size] = ids
    return flat.reshape(tuple(shape), order="F")


def as_label_ids(path: Path, values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """The values as uint16, or uint32 where one is larger.

    Raises:
        UserError: one is not finite, not whole, negative, or beyond 32 bits.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(f"{path}: holds NaN or infinite voxels; a label map holds whole numbers, 0 for the background")
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        odd = float(values[values != np.rint(values)][0])
        raise UserError(f"{path}: holds fractions such as {odd:.4g}: an image, not a label map; segment it first")
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0:
        raise UserError(
            f"{path}: holds negative values such as {int(low)}: an image, not a label map; segment it first"
        )
    if high > 0xFFFFFFFF:
        raise UserError(f"{path}: holds the value {int(high)}; label ids have at most 32 bits")
    return values.astype(np.uint16 if high <= MAX_LABEL else np.uint32)


def label_sections(
    path: Path,
    voxels: Shaped[np.ndarray, "nx ny nz"],
    affine: Float64[np.ndarray, "4 4"],
    options: SliceOptions,
    *,
    names: Mapping[int, str] | None = None,
    colors: Mapping[int, Color] | None = None,
    unit: str = "unknown",
    notes: tuple[str, ...] = (),
) -> CrossSections:
    """The slices of a label volume along `options.axis`, every `options.keep_every`-th of them kept.

    `names` and `colors` go by the ids in the file. Ids beyond 65,535 are renumbered and stay in the labels' names.

    Raises:
        UserError: fewer than two slices are kept, no label is on them, an axis that does not exist, an affine that is
            not usable, or grey values instead of labels.
    """
    names, colors = dict(names or {}), dict(colors or {})
    _check_affine(path, affine)
    if voxels.dtype != np.uint16:
        voxels, names, colors = _renumber(path, voxels, names, colors)
        notes += (f"Label ids go beyond {MAX_LABEL}: renumbered, the names keep them.",)
    axis = options.axis if options.axis is not None else _coarsest_axis(affine)
    if axis not in (0, 1, 2):
        raise UserError(f"--axis {axis}: a volume has the array axes 0, 1 and 2")
    kept = np.arange(0, voxels.shape[axis], options.keep_every)
    if len(kept) < 2:
        raise UserError(
            f"{path}: --keep-every {options.keep_every} of {voxels.shape[axis]} slice(s) along array axis {axis} keeps "
            f"{len(kept)}; a shape between slices needs at least two"
        )
    slices = np.moveaxis(voxels, axis, 0)
    ids = _ids_on(slices[kept[0] :: options.keep_every])
    unseen = np.setdiff1d(_ids_on(slices), ids)
    if not len(ids):
        raise UserError(f"{path}: holds no label{' on the slices kept' if len(unseen) else ': every voxel is 0'}")
    if len(ids) >= MANY_LABELS:
        _refuse_grey_values(path, slices[kept[0] :: options.keep_every], ids)
    if len(unseen):
        notes += (f"Labels on left-out slices only, not reconstructed: {len(unseen)}.",)
    volume = LabelVolume(voxels, affine, axis, kept)
    return CrossSections(label_table(ids.tolist(), names, colors), volume=volume, unit=unit, notes=notes)


def _check_affine(path: Path, affine: Float64[np.ndarray, "4 4"]) -> None:
    """Raises a UserError where the axes' directions do not span space, or spacings or origin are beyond any use."""
    with np.errstate(all="ignore"):
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        volume = abs(np.linalg.det(affine[:3, :3] / steps))
        usable = (steps > 1e-12).all() and np.abs(affine).max() < 1e12 and volume > 1e-6
    if not usable:
        raise UserError(
            f"{path}: its orientation is not usable: its axes need finite, distinct directions and spacings"
        )


def _coarsest_axis(affine: Float64[np.ndarray, "4 4"]) -> int:
    """The array axis with the largest spacing, to 0.1 %; the last one of those."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return int(np.flatnonzero(spacing >= 0.999 * spacing.max())[-1])


def _ids_on(slices: UInt16[np.ndarray, "n rows columns"]) -> Int[np.ndarray, " ids"]:
    """The ids that occur, ascending, without the background."""
    present = np.zeros(MAX_LABEL + 1, bool)
    for plane in slices:
        present[plane.ravel(order="K")] = True
    return np.flatnonzero(present[1:]) + 1


def _refuse_grey_values(path: Path, slices: UInt16[np.ndarray, "n rows columns"], ids: Int[np.ndarray, " ids"]) -> None:
    """Raises a UserError where the median label's voxels mostly have neighbours of other labels."""
    voxels, alike = np.zeros((2, MAX_LABEL + 1))
    for plane in slices:
        for here, next_ in ((plane[:-1], plane[1:]), (plane[:, :-1], plane[:, 1:])):
            voxels += np.bincount(here.ravel(), minlength=MAX_LABEL + 1)
            alike += np.bincount(here[here == next_], minlength=MAX_LABEL + 1)
    share = float(np.median(alike[ids] / np.maximum(voxels[ids], 1)))
    if share < SPECKLE:
        raise UserError(
            f"{path}: holds {len(ids)} different values, and {1 - share:.0%} of neighbouring voxels differ: a picture "
            "(CT, MRI, photo, a mask with blurred edges), not a label map; segment it first"
        )


def _renumber(
    path: Path, voxels: Shaped[np.ndarray, "nx ny nz"], names: Mapping[int, str], colors: Mapping[int, Color]
) -> tuple[UInt16[np.ndarray, "nx ny nz"], dict[int, str], dict[int, Color]]:
    """The voxels with ids 0, 1, 2, ... in the order of the file's ids; names and colours under the new ids."""
    values = np.zeros(1, voxels.dtype)
    for slab in voxels:
        values = np.union1d(values, slab)
        if len(values) > MAX_LABEL + 1:
            raise UserError(
                f"{path}: holds more than {MAX_LABEL} different values: an image, not a label map; segment it first"
            )
    renumbered = np.empty(voxels.shape, np.uint16, order="F")
    for index, slab in enumerate(voxels):
        renumbered[index] = np.searchsorted(values, slab)
    ids = {int(value): new for new, value in enumerate(values)}
    new_names = {new: names.get(value) or f"label {value}" for value, new in ids.items()}
    return renumbered, new_names, {ids[value]: color for value, color in colors.items() if value in ids}
