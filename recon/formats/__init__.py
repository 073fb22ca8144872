"""The file formats that exist. A new one is a module in this folder and one line in `FORMATS`.

A module that reads has `read(path, options) -> CrossSections`; modules load only when their format is met. Mesh formats
have a registry of their own, `recon.formats.meshes`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec

from recon.errors import UserError
from recon.formats.untrusted import failures_named
from recon.inputs import CrossSections


class ReadOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to understand the input's files."""

    keep_every: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Use every k-th slice of a label volume and compare the result with the rest."""
    axis: int | None = None
    """Array axis (0, 1, 2) that the slices of a label volume run along; by default the coarsest."""
    spacing: tuple[float, float, float] | None = None
    """Voxel size of an image stack: column step, row step, slice step, in --unit."""
    unit: str | None = None
    """Unit of length of the input's coordinates (mm, m) where the file does not say."""


@dataclass(frozen=True)
class Format:
    """One row of the registry. `suffixes` in lower case, the longest match wins; `folder` says that a folder of such
    files is one input."""

    name: str
    module: str
    suffixes: tuple[str, ...]
    folder: bool = False


FORMATS: tuple[Format, ...] = (
    Format("CSL contours", "recon.formats.csl", (".csl",)),
    Format("NIfTI label volume", "recon.formats.nifti", (".nii", ".nii.gz")),
    Format("NRRD label volume", "recon.formats.nrrd", (".nrrd", ".nhdr")),
    Format("DICOM RTSTRUCT or SEG", "recon.formats.dicom", (".dcm",), folder=True),
    Format("image stack", "recon.formats.image_stack", (".tif", ".tiff", ".png"), folder=True),
    Format("GeoJSON elevation contours", "recon.formats.geojson", (".geojson", ".json")),
)


def format_of(path: Path) -> Format:
    """The format that reads this path, chosen by its name, or by the files in it where it is a folder.

    Raises:
        UserError: it does not exist, or no format reads it, or a folder holds files of several formats.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        fitting = _by_suffix(path)
        if fitting is None:
            known = ", ".join(suffix for format_ in FORMATS for suffix in format_.suffixes)
            raise UserError(f"{path}: its format is not known by its name; the formats of slices are {known}")
        return fitting
    with failures_named(path):
        files = [file for file in path.iterdir() if not file.name.startswith(".")]
    found = {fitting for file in files if (fitting := _by_suffix(file))}
    stacks = [format_ for format_ in FORMATS if format_ in found and format_.folder]
    if len(stacks) == 1:
        return stacks[0]
    if stacks:
        names = " and ".join(format_.name for format_ in stacks)
        raise UserError(f"{path}: holds files of {names}; name one of them or leave one kind in the folder")
    if found:
        raise UserError(f"{path}: holds files of {', '.join(sorted(f.name for f in found))}; name one of them")
    raise UserError(f"{path}: holds neither DICOM files (.dcm) nor images of slices (.png, .tif)")


def read(path: Path, options: ReadOptions) -> CrossSections:
    """Reads the input at the path.

    Raises:
        UserError: as `format_of`, what is wrong in the file, or an option that does not fit what it holds.
    """
    if options.keep_every < 1:
        raise UserError(f"--keep-every {options.keep_every}: every slice is 1, every second is 2, and so on")
    if options.unit not in (None, "mm", "m"):
        raise UserError(f"--unit {options.unit}: the unit of length is mm or m")
    format_ = format_of(path)
    if options.spacing is not None and format_.name != "image stack":
        raise UserError(f"--spacing: {path} states its own spacing; the option is for image stacks")
    sections = importlib.import_module(format_.module).read(path, options)
    if sections.volume is None and (options.keep_every != 1 or options.axis is not None):
        raise UserError(f"--keep-every and --axis choose slices of a label volume; {path} holds contours")
    if options.unit not in (None, sections.unit):
        note = f"The file states its unit, {sections.unit}; --unit {options.unit} is not used."
        return replace(sections, notes=(*sections.notes, note))
    return sections


def _by_suffix(path: Path) -> Format | None:
    """The format with the longest suffix that the name ends with."""
    fitting = [(len(suffix), f) for f in FORMATS for suffix in f.suffixes if path.name.lower().endswith(suffix)]
    return max(fitting, key=lambda match: match[0])[1] if fitting else None
