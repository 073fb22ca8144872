"""The file formats that exist. A new one is a module in this folder and one line in `FORMATS`.

A module that reads has `read(path, options) -> CrossSections`; one that writes meshes has
`write(scene, path) -> None`. Modules load only when their format is met.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro

from recon.errors import UserError
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
    Format("DICOM RTSTRUCT or SEG", "recon.formats.dicom", (".dcm",)),
    Format("image stack", "recon.formats.image_stack", (".tif", ".tiff", ".png"), folder=True),
    Format("GeoJSON elevation contours", "recon.formats.geojson", (".geojson", ".json")),
)


def format_of(path: Path) -> Format:
    """The format that reads this path, chosen by its name, or by the files in it where it is a folder.

    Raises:
        UserError: it does not exist, or no format reads it.
    """
    raise UserError(f"{path}: not implemented yet")


def read(path: Path, options: ReadOptions) -> CrossSections:
    """Reads the input at the path.

    Raises:
        UserError: as `format_of`, or what is wrong in the file.
    """
    return importlib.import_module(format_of(path).module).read(path, options)
