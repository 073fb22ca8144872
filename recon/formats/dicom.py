"""DICOM files that hold regions: RTSTRUCT (drawn contours) and SEG (painted segments), in left-posterior-superior mm.

A file is recognised by the class in its meta header. A folder may hold one of them beside the images that it was drawn
on.
"""

from __future__ import annotations

from pathlib import Path

from pydicom.config import IGNORE
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from recon.errors import UserError
from recon.formats import SliceOptions, dicom_rtstruct, dicom_seg
from recon.formats.dicom_parsing import parsing
from recon.formats.untrusted import failures_named
from recon.inputs import CrossSections

MAX_BYTES = 2 << 30
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # segments, label map
DEFLATED = "1.2.840.10008.1.2.1.99"


def read(path: Path, options: SliceOptions) -> CrossSections:
    """The regions of an RTSTRUCT or SEG file, or of the one such file in a folder.

    Raises:
        UserError: there is none or more than one, it is damaged, or what `dicom_rtstruct` and `dicom_seg` refuse.
    """
    file, sop_class = _region_file(path) if path.is_dir() else (path, _sop_class(path))
    if sop_class != RTSTRUCT and sop_class not in SEGMENTATIONS:
        kind = UID(sop_class, validation_mode=IGNORE).name or "unknown"
        raise UserError(f"{file}: is DICOM of the kind {kind}; regions come as RTSTRUCT or SEG")
    if file.stat().st_size > MAX_BYTES:
        raise UserError(f"{file}: is larger than {MAX_BYTES >> 30} GB, the most that is read of a DICOM file")
    return (dicom_rtstruct if sop_class == RTSTRUCT else dicom_seg).read(file, options)


def _region_file(folder: Path) -> tuple[Path, str]:
    """The one RTSTRUCT or SEG among a folder's .dcm files, and its class."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".dcm" and file.is_file())
    classes = {file: _sop_class(file) for file in files}
    found = [file for file in files if classes[file] == RTSTRUCT or classes[file] in SEGMENTATIONS]
    if not found:
        raise UserError(f"{folder}: none of its {len(files)} .dcm files is an RTSTRUCT or SEG; images hold no regions")
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:4])
        raise UserError(f"{folder}: holds {len(found)} RTSTRUCT or SEG files ({names}); name the one to read")
    return found[0], classes[found[0]]


def _sop_class(file: Path) -> str:
    """The UID of what the file holds, from its meta header alone.

    A file that is deflated as a whole is refused here: it would be inflated without a bound.
    """
    with failures_named(file), file.open("rb") as stream:
        start = stream.read(132)
    if start[128:] != b"DICM":
        raise UserError(f"{file}: is not a DICOM file: the letters DICM should stand at byte 128")
    with parsing(file):
        meta = read_file_meta_info(file)
        syntax, sop_class = str(meta.get("TransferSyntaxUID", "")), str(meta.get("MediaStorageSOPClassUID", ""))
    if syntax == DEFLATED:
        raise UserError(f"{file}: is deflated as a whole, which is not read; export it uncompressed")
    return sop_class
