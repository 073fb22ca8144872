"""NIfTI-1 and NIfTI-2 label maps (.nii, .nii.gz), in right-anterior-superior millimetres.

Voxel (i, j, k) is centred at `affine @ (i, j, k, 1)`: the header's sform, else its qform. Names and colours of labels
come from a <LabelTable> in the header's extensions (Connectome Workbench, TotalSegmentator) or from a JSON file beside
the volume with lists R, G, B (0 to 255) and labels, indexed by label id (NiiVue).
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from math import prod
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float64
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from recon.errors import UserError
from recon.formats import SliceOptions
from recon.formats.label_map import check_shape, label_sections, read_voxels
from recon.formats.labels import Color, color_from_bytes
from recon.formats.untrusted import GZIP_MAX_RATIO, check_promise, failures_named, plain, read_whole
from recon.inputs import CrossSections

LabelTable = tuple[dict[int, str], dict[int, Color]]

HEADER_BYTES = {348: 1, 540: 2}  # version by the size that a header starts with
MAX_EXTENSION_BYTES = 16 << 20
MILLIMETRES = {1: 1e3, 2: 1.0, 3: 1e-3}  # by NIfTI's codes of metre, millimetre, micrometre


def read(path: Path, options: SliceOptions) -> CrossSections:
    """The slices of a NIfTI label map; metres and micrometres are turned into millimetres.

    Raises:
        UserError: the file is damaged or lies about its size, is no 3-D volume, or holds an image instead of labels.
    """
    with failures_named(path), path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    opened = gzip.open(path) if compressed else path.open("rb")
    try:
        with opened as stream:
            header, extensions = _read_header(path, stream)
            shape, dtype = _voxel_layout(path, header)
            check_promise(path, prod(shape) * dtype.itemsize, path.stat().st_size, GZIP_MAX_RATIO if compressed else 1)
            voxels = read_voxels(path, stream, dtype, shape, _rescaling(header))
    except HeaderDataError as error:
        raise UserError(f"{path}: its NIfTI header contradicts itself ({plain(error)}); write the file anew") from error
    affine, unit, notes = _placement(path, header, options)
    (names, colors), remark = _label_table(path, extensions)
    return label_sections(path, voxels, affine, options, names=names, colors=colors, unit=unit, notes=notes + remark)


def _read_header(path: Path, stream: BufferedIOBase) -> tuple[Nifti1Header, bytes]:
    """The header and the bytes of its extensions; the stream then stands at the voxels."""
    with failures_named(path):
        start = stream.read(4)
    order = next((o for o in "<>" if len(start) == 4 and struct.unpack(f"{o}i", start)[0] in HEADER_BYTES), None)
    if order is None:
        raise UserError(f"{path}: is not NIfTI: the file should start with its header's size, 348 or 540")
    size = struct.unpack(f"{order}i", start)[0]
    with failures_named(path):
        block = start + stream.read(size - 4)
    if len(block) < size:
        raise UserError(f"{path}: is cut short: it ends within its header")
    header = (Nifti1Header if HEADER_BYTES[size] == 1 else Nifti2Header)(block, endianness=order, check=False)
    if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
        raise UserError(
            f"{path}: is not one NIfTI file with header and voxels; a pair .hdr and .img must be joined first"
        )
    offset = float(header["vox_offset"]) or size + 4.0
    if not size + 4 <= offset <= size + MAX_EXTENSION_BYTES or offset % 1:
        raise UserError(f"{path}: its header says that voxels start at byte {offset:g}, which cannot be; it is damaged")
    with failures_named(path):
        return header, stream.read(int(offset) - size)


def _voxel_layout(path: Path, header: Nifti1Header) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the voxels, checked; trailing axes of size 1 are dropped."""
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    check_shape(path, shape)
    try:
        dtype = header.get_data_dtype()
    except KeyError as error:
        raise UserError(f"{path}: its header gives its voxels the unknown type {error}; it is damaged") from error
    if dtype.kind not in "iuf":
        raise UserError(
            f"{path}: its voxels are {dtype}, not plain numbers; a label map holds one whole number a voxel"
        )
    return shape, dtype


def _rescaling(header: Nifti1Header) -> Callable[[np.ndarray], np.ndarray] | None:
    """The header's map from stored values to labels; None where it is the identity."""
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope, intercept) == (1, 0):
        return None
    return lambda stored: stored * float(slope) + float(intercept or 0)


def _placement(
    path: Path, header: Nifti1Header, options: SliceOptions
) -> tuple[Float64[np.ndarray, "4 4"], str, tuple[str, ...]]:
    """The affine to RAS, its unit, and what had to be assumed for them."""
    try:
        affine = np.array(header.get_best_affine(), np.float64)
    except (HeaderDataError, ValueError) as error:
        raise UserError(
            f"{path}: its qform is not usable ({plain(error)}); it should hold a unit quaternion"
        ) from error
    notes: tuple[str, ...] = ()
    if not header["sform_code"] and not header["qform_code"]:
        notes += (
            "The header gives no orientation: voxel sizes alone are used, axes taken as right, anterior, superior.",
        )
    factor = MILLIMETRES.get(int(header["xyzt_units"]) & 7)
    if factor is None:
        unit = options.unit or "mm"
        return affine, unit, notes if options.unit else (*notes, "The header states no unit; millimetres are assumed.")
    if factor != 1:
        notes += (f"The file's unit is turned into millimetres (times {factor:g}).",)
    affine[:3] *= factor
    return affine, "mm", notes


def _label_table(path: Path, extensions: bytes) -> tuple[LabelTable, tuple[str, ...]]:
    """Names and colours by label id, and a note where a table stands there but cannot be read."""
    name = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    sidecar = path.with_name(name).with_suffix(".json")
    try:
        for content in _extension_contents(extensions):
            if b"<LabelTable" in content:
                return _from_xml(content), ()
        if sidecar.is_file():
            return _from_json(read_whole(sidecar)), ()
    except (ElementTree.ParseError, ValueError, TypeError, UserError) as error:
        return ({}, {}), (f"The table of label names cannot be read and is left out ({plain(error)}).",)
    return ({}, {}), ()


def _extension_contents(extensions: bytes) -> Iterator[bytes]:
    """The contents of the header extensions: four flag bytes, then each with its size (8 more than its content) and
    code; either byte order, the one that fits."""
    position = 4
    while position + 8 <= len(extensions):
        size = min(int.from_bytes(extensions[position : position + 4], order) for order in ("little", "big"))
        if size < 8:
            return
        yield extensions[position + 8 : position + size].rstrip(b"\0")
        position += size


def _from_xml(content: bytes) -> LabelTable:
    """A <LabelTable>: <Label Key="1" Red="0.0" Green="1.0" Blue="0.0">name</Label>, colours in [0, 1]."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("it declares entities")
    names: dict[int, str] = {}
    colors: dict[int, Color] = {}
    for label in ElementTree.fromstring(content).iter("Label"):
        key = int(label.attrib["Key"])
        names[key] = label.text or ""
        if {"Red", "Green", "Blue"} <= label.attrib.keys():
            colors[key] = color_from_bytes(255 * float(label.attrib[channel]) for channel in ("Red", "Green", "Blue"))
    return names, colors


def _from_json(content: bytes) -> LabelTable:
    """Lists R, G, B and labels, indexed by label id; a JSON file without them tells nothing about labels."""
    table = json.loads(content)
    if not isinstance(table, dict) or not {"R", "G", "B", "labels"} <= table.keys():
        return {}, {}
    names = {key: str(name) for key, name in enumerate(table["labels"])}
    channels = zip(table["R"], table["G"], table["B"], strict=True)
    return names, {key: color_from_bytes(channel) for key, channel in enumerate(channels)}
