"""NRRD label maps (.nrrd, and .nhdr with its data beside it), in the space that their header names.

From the format's definition (Kindlmann, teem.sourceforge.net/nrrd/format.html): a line NRRD000x, lines `field: value`
and `key:=value`, a blank line, then the samples, first axis fastest. Sample (i, j, k) stands at o + i d0 + j d1 + k d2
with the space origin o and the space directions d. 3D Slicer's segmentations (.seg.nrrd) name their labels in keys
`Segment<n>_Name`, `Segment<n>_LabelValue`, `Segment<n>_Color`.
"""

from __future__ import annotations

import bz2
import gzip
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped

from recon.errors import UserError
from recon.formats import SliceOptions
from recon.formats.label_map import as_label_ids, check_shape, label_sections, read_voxels
from recon.formats.labels import Color
from recon.formats.untrusted import GZIP_MAX_RATIO, check_promise, failures_named, plain
from recon.inputs import CrossSections

MAX_HEADER_BYTES = 1 << 20
MAX_SKIP = 1 << 20
MAX_TEXT_SAMPLES = 16 << 20  # bytes
ENCODINGS = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "text": "text",
    "txt": "text",
    "ascii": "text",
}
_INTEGERS = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
}
TYPES = {name: code for code, names in _INTEGERS.items() for name in names.split(", ")} | {
    "float": "f4",
    "double": "f8",
}
ANATOMICAL = {"right-anterior-superior", "ras", "left-anterior-superior", "las", "left-posterior-superior", "lps"}
UNITS = {"mm": "mm", "millimeter": "mm", "millimeters": "mm", "m": "m", "meter": "m", "meters": "m"}


@dataclass(frozen=True)
class _Header:
    """The header's fields, names in lower case without blanks, its keys, and the byte after its blank line."""

    path: Path
    fields: dict[str, str]
    keys: dict[str, str]
    end: int

    def wrong(self, sentence: str) -> UserError:
        return UserError(f"{self.path}: {plain(sentence, limit=400)}")

    def required(self, name: str) -> str:
        value = self.fields.get(name.replace(" ", ""))
        if value is None:
            raise self.wrong(f"its header lacks the field '{name}', which NRRD requires")
        return value

    def integers(self, name: str, value: str) -> list[int]:
        try:
            return [int(word) for word in value.split()]
        except ValueError:
            raise self.wrong(f"the field '{name}' should hold whole numbers, not '{value[:60]}'") from None


def read(path: Path, options: SliceOptions) -> CrossSections:
    """The slices of an NRRD label map.

    Raises:
        UserError: the file is damaged or lies about its size, names data outside its folder, is no 3-D volume of one
            number a voxel, or holds an image instead of labels.
    """
    header = _read_header(path)
    sizes, domain = _sizes(header)
    shape = [sizes[axis] for axis in domain]
    check_shape(path, shape)
    affine, notes = _affine(header, len(sizes), domain)
    voxels = _read_samples(header, shape)
    unit, unit_notes = _unit(header, options)
    names, colors = _segments(header)
    return label_sections(
        path, voxels, affine, options, names=names, colors=colors, unit=unit, notes=notes + unit_notes
    )


def _read_header(path: Path) -> _Header:
    with failures_named(path), path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    if not re.match(rb"NRRD000\d\r?\n", head):
        raise UserError(f"{path}: is not NRRD: the file should start with the line NRRD0001 to NRRD0005")
    blank = re.search(rb"\n\r?\n", head)
    if blank is None and len(head) == MAX_HEADER_BYTES:
        raise UserError(
            f"{path}: its header does not end within {MAX_HEADER_BYTES >> 20} MB; a blank line should end it"
        )
    end = blank.end() if blank else len(head)
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for number, line in enumerate(head[:end].decode("utf-8", errors="replace").splitlines()[1:], start=2):
        if not line.strip() or line.startswith("#"):
            continue
        key, assigned, value = line.partition(":=")
        name, stated, content = line.partition(": ")
        if assigned and len(key) < len(name):
            keys[key] = value
        elif stated:
            fields[name.replace(" ", "").lower()] = content.strip()
        elif not line.rstrip().endswith(":"):
            raise UserError(f"{path}, line {number}: a header line reads 'field: value' or 'key:=value'")
    return _Header(path, fields, keys, end)


def _sizes(header: _Header) -> tuple[list[int], list[int]]:
    """The sizes of all axes, and the three of them that run through space."""
    sizes = header.integers("sizes", header.required("sizes"))
    if header.integers("dimension", header.required("dimension")) != [len(sizes)]:
        raise header.wrong(f"the field 'dimension' should be {len(sizes)}, the number of its sizes")
    if min(sizes, default=0) < 1:
        raise header.wrong(f"its sizes are {sizes}; every axis needs at least one sample")
    domain = [axis for axis, size in enumerate(sizes) if size > 1] if len(sizes) > 3 else list(range(len(sizes)))
    if len(domain) > 3:
        raise header.wrong(
            f"has {len(domain)} axes; a label map has three and one number a voxel (segments in several layers: "
            "write them as one label map)"
        )
    if len(sizes) > 3 > len(domain):
        raise header.wrong(f"its sizes are {sizes}; a label volume has three axes of more than one voxel")
    return sizes, domain


def _affine(header: _Header, axes: int, domain: Sequence[int]) -> tuple[Float64[np.ndarray, "4 4"], tuple[str, ...]]:
    """The map from sample indices to the header's space, and what had to be assumed for it."""
    affine = np.eye(4)
    if "spacedirections" in header.fields:
        vectors = re.findall(r"none|\([^()]*\)", header.fields["spacedirections"])
        if len(vectors) != axes:
            raise header.wrong(f"the field 'space directions' should hold {axes} vectors, one for each axis")
        for column, axis in enumerate(domain):
            affine[:3, column] = _vector(header, "space directions", vectors[axis])
        if "spaceorigin" not in header.fields:
            return affine, ("The header gives no space origin; the first voxel is put at 0, 0, 0.",)
        affine[:3, 3] = _vector(header, "space origin", header.fields["spaceorigin"])
        return affine, ()
    spacings = header.fields.get("spacings", "").split()
    if len(spacings) != axes:
        return affine, ("The header gives neither space directions nor spacings; voxels are taken as cubes of side 1.",)
    sides = _vector(header, "spacings", ",".join(spacings[axis] for axis in domain))
    affine[:3, :3] = np.diag(np.where(np.isnan(sides), 1, sides))
    unknown = ("Spacings that the header leaves open (NaN) are taken as 1.",) if np.isnan(sides).any() else ()
    return affine, (*unknown, "The header gives spacings but no directions: the array's axes are taken as x, y, z.")


def _vector(header: _Header, name: str, text: str) -> Float64[np.ndarray, "3"]:
    """Three numbers, with or without parentheses."""
    try:
        vector = np.array([float(number) for number in text.strip().strip("()").split(",")])
    except ValueError:
        vector = np.empty(0)
    if vector.shape != (3,):
        raise header.wrong(f"the field '{name}' should give three numbers for each axis of space, not '{text[:60]}'")
    return vector


def _unit(header: _Header, options: SliceOptions) -> tuple[str, tuple[str, ...]]:
    stated = re.findall(r'"([^"]*)"', header.fields.get("spaceunits", ""))
    if stated and len(set(stated)) == 1 and stated[0].lower() in UNITS:
        return UNITS[stated[0].lower()], ()
    if stated:
        return options.unit or "unknown", (f"The header's unit is {' '.join(stated)}; coordinates are kept in it.",)
    if options.unit is None and header.fields.get("space", "").lower() in ANATOMICAL:
        return "mm", ("The header states no unit; millimetres are assumed.",)
    return options.unit or "unknown", ()


def _segments(header: _Header) -> tuple[dict[int, str], dict[int, Color]]:
    """Names and colours of 3D Slicer's segments, by label value."""
    names: dict[int, str] = {}
    colors: dict[int, Color] = {}
    for key, written in header.keys.items():
        segment = re.fullmatch(r"(Segment\d+_)LabelValue", key)
        if segment is None:
            continue
        for label in header.integers(key, written):
            names[label] = header.keys.get(f"{segment[1]}Name", "")
            if f"{segment[1]}Color" in header.keys:
                channels = _vector(header, f"{segment[1]}Color", ",".join(header.keys[f"{segment[1]}Color"].split()))
                red, green, blue = np.clip(channels, 0, 1).tolist()
                colors[label] = (red, green, blue)
    return names, colors


def _read_samples(header: _Header, shape: Sequence[int]) -> Shaped[np.ndarray, "nx ny nz"]:
    """The label ids, from this file or the one that it names."""
    encoding = ENCODINGS.get(header.required("encoding").lower())
    if encoding is None:
        raise header.wrong(f"its encoding is '{header.required('encoding')}'; raw, gzip, bzip2 and text can be read")
    kind = TYPES.get(header.required("type").lower())
    if kind is None:
        raise header.wrong(
            f"its samples are of type '{header.required('type')}'; a label map holds one whole number each"
        )
    if encoding == "text":
        return _read_text_samples(header, shape)
    endian = header.fields.get("endian", "little" if kind.endswith("1") else "").lower()
    if endian not in ("little", "big"):
        raise header.wrong("the field 'endian' should say little or big")
    dtype = np.dtype(("<" if endian == "little" else ">") + kind)
    promised = prod(shape) * dtype.itemsize
    with _samples(header, encoding, promised) as (path, stream):
        return read_voxels(path, stream, dtype, shape)


def _read_text_samples(header: _Header, shape: Sequence[int]) -> Shaped[np.ndarray, "nx ny nz"]:
    with _samples(header, "text", 2 * prod(shape) - 1) as (path, stream):
        content = stream.read(MAX_TEXT_SAMPLES + 1)
    if len(content) > MAX_TEXT_SAMPLES:
        raise UserError(f"{path}: text of more than {MAX_TEXT_SAMPLES >> 20} MB is not read; write it as raw or gzip")
    try:
        values = np.array(content.split(), np.float64)
    except ValueError:
        raise UserError(f"{path}: its encoding is text, but not all samples are numbers") from None
    if len(values) != prod(shape):
        raise UserError(f"{path}: its header promises {prod(shape)} voxels, but {len(values)} numbers follow")
    return as_label_ids(path, values).reshape(tuple(shape), order="F")


@contextmanager
def _samples(header: _Header, encoding: str, promised: int) -> Iterator[tuple[Path, BufferedIOBase]]:
    """The file that holds the samples and a stream of them, decompressed; a header that promises more than the file
    can hold is refused. A bzip2 stream may expand a million times, so its promise shows only while it is read."""
    path, start = _data_file(header)
    with failures_named(path):
        available = path.stat().st_size - start
    if encoding != "bzip2":
        check_promise(path, promised, available, GZIP_MAX_RATIO if encoding == "gzip" else 1)
    skip_lines, skip_bytes = _skips(header)
    with failures_named(path), path.open("rb") as file:
        file.seek(start)
        for _ in range(skip_lines):
            file.readline(MAX_HEADER_BYTES)
        if skip_bytes == -1 and encoding == "raw":
            file.seek(-promised, 2)
        opener = {"gzip": gzip.open, "bzip2": bz2.open}.get(encoding)
        stream = opener(file, "rb") if opener else file
        stream.read(max(skip_bytes, 0))
        yield path, stream


def _skips(header: _Header) -> tuple[int, int]:
    """How many lines of the file, then how many decompressed bytes precede the samples; -1: as many as there are."""
    skips = [
        header.integers(name, header.fields.get(name.replace(" ", ""), "0")) for name in ("line skip", "byte skip")
    ]
    if any(len(skip) != 1 or not -1 <= skip[0] <= MAX_SKIP for skip in skips):
        raise header.wrong(f"the fields 'line skip' and 'byte skip' should each hold one number, at most {MAX_SKIP}")
    return skips[0][0], skips[1][0]


def _data_file(header: _Header) -> tuple[Path, int]:
    """The file with the samples and where they start; a detached one must lie in the header's folder."""
    name = header.fields.get("datafile")
    if name is None:
        return header.path, header.end
    if name.upper().startswith("LIST") or "%" in name:
        raise header.wrong("its samples are spread over several files; join them into one first")
    folder = header.path.parent.resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise header.wrong(f"its data file '{name}' lies outside the header's folder, where it may not be read")
    if not path.is_file():
        raise header.wrong(f"its data file '{name}' does not stand beside it")
    return path, 0
