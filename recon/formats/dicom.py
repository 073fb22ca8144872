"""DICOM files that hold regions: RTSTRUCT (drawn contours) and SEG (painted segments), in left-posterior-superior mm.

A file is recognised by the class in its meta header. A folder may hold one of them beside the images that it was drawn
on.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

from pydicom.config import IGNORE
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from recon.errors import UserError
from recon.formats import ReadOptions, dicom_rtstruct, dicom_seg
from recon.formats.untrusted import failures_named
from recon.inputs import CrossSections

MAX_BYTES = 2 << 30
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # segments, label map
DEFLATED = "1.2.840.10008.1.2.1.99"

# What pydicom raises on a broken file: it parses values when they are asked for, with whatever error that gives.
PARSE_FAILURES = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    struct.error,
    InvalidDicomError,
    BytesLengthException,
)


def read(path: Path, options: ReadOptions) -> CrossSections:
    """The regions of an RTSTRUCT or SEG file, or of the one such file in a folder.

    Raises:
        UserError: there is none or more than one, it is damaged, or what `dicom_rtstruct` and `dicom_seg` refuse.
    """
    file, sop_class = _region_file(path) if path.is_dir() else (path, _sop_class(path))
    if sop_class != RTSTRUCT and sop_class not in SEGMENTATIONS:
        raise UserError(f"{file}: is DICOM of the kind {_kind(sop_class)}; regions come as RTSTRUCT or SEG")
    if file.stat().st_size > MAX_BYTES:
        raise UserError(f"{file}: is larger than {MAX_BYTES >> 30} GB, the most that is read of a DICOM file")
    reader = dicom_rtstruct.read if sop_class == RTSTRUCT else dicom_seg.read
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every value that bends the standard; values are checked here
        try:
            with failures_named(file):
                return reader(file, options)
        except PARSE_FAILURES as error:
            raise UserError(f"{file}: is not sound DICOM ({_in_short(error)}); export it anew") from error


def _region_file(folder: Path) -> tuple[Path, str]:
    """The one RTSTRUCT or SEG among a folder's .dcm files, and its class."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".dcm" and file.is_file())
    classes = {file: _sop_class(file) for file in files}
    found = [file for file in files if classes[file] == RTSTRUCT or classes[file] in SEGMENTATIONS]
    if not found:
        raise UserError(
            f"{folder}: none of its {len(files)} .dcm files is an RTSTRUCT or SEG; images hold no regions yet"
        )
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:4])
        raise UserError(f"{folder}: holds {len(found)} RTSTRUCT or SEG files ({names}); name the one to read")
    return found[0], classes[found[0]]


def _sop_class(file: Path) -> str:
    """The UID of what the file holds, from its meta header alone."""
    with failures_named(file), file.open("rb") as stream:
        start = stream.read(132)
    if start[128:] != b"DICM":
        raise UserError(f"{file}: is not a DICOM file: the letters DICM should stand at byte 128")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with failures_named(file):
                meta = read_file_meta_info(file)
            if meta.get("TransferSyntaxUID") == DEFLATED:
                raise UserError(f"{file}: is deflated as a whole, which is not read; export it uncompressed")
            return str(meta.get("MediaStorageSOPClassUID", ""))
        except PARSE_FAILURES as error:
            raise UserError(f"{file}: its DICOM header is damaged ({_in_short(error)}); export it anew") from error


def _kind(sop_class: str) -> str:
    return UID(sop_class, validation_mode=IGNORE).name or "unknown"


def _in_short(error: Exception) -> str:
    """The first line of the error's text, within one sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120].rstrip(". ")
