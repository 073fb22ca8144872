"""The formats of inputs that exist. A new one is a module in this folder and one line in `FORMATS`.

A module that reads has `read(path, options)` and gives `CrossSections`, a `PointCloud`, `Views` or `Photos`, as its
row's options say; modules load only when their format is met. Mesh formats have a registry of their own,
`recon.formats.meshes`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import overload

from recon.errors import UserError
from recon.formats.options import InputOptions as InputOptions
from recon.formats.options import PhotoOptions, PointOptions, SliceOptions, ViewOptions
from recon.formats.untrusted import failures_named
from recon.inputs import CrossSections, Input, PointCloud, Views

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".webp", ".bmp"),
    *(".heic", ".heif", ".hif", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".rw2", ".orf", ".pef", ".srw"),
)
PHOTO_FOLDERS = ("images", "photos", "input")
STACK_SUFFIXES = (".tif", ".tiff", ".png")
KIND_NAMES = {SliceOptions: "slices", PointOptions: "points", ViewOptions: "views", PhotoOptions: "photos"}


@dataclass(frozen=True)
class Format:
    """One row of the registry. `suffixes` in lower case, the longest match wins; `options` are those of the kind of
    input that it yields; `folder` says that a folder of such files is one input, `holds` what a folder of this format
    has in it: one of these sets of names, in which * stands for any letters. The first row that fits is taken."""

    name: str
    module: str
    suffixes: tuple[str, ...]
    options: type[InputOptions] = SliceOptions
    folder: bool = False
    holds: tuple[tuple[str, ...], ...] = ()

    def is_held_by(self, folder: Path) -> bool:
        """Whether the folder has one of the sets of names in it."""
        return any(all(any(folder.glob(name)) for name in names) for names in self.holds)


def _any_of(suffixes: tuple[str, ...], *folders: str) -> tuple[tuple[str, ...], ...]:
    """Patterns for `Format.holds`: a file of one of the suffixes, in upper or lower case, in one of the folders."""
    cased = ["".join(f"[{letter}{letter.upper()}]" for letter in suffix[1:]) for suffix in suffixes]
    return tuple((f"{folder}*.{suffix}",) for folder in ([f"{f}/" for f in folders] or [""]) for suffix in cased)


FORMATS: tuple[Format, ...] = (
    Format("CSL contours", "recon.formats.csl", (".csl",)),
    Format("NIfTI label volume", "recon.formats.nifti", (".nii", ".nii.gz")),
    Format("NRRD label volume", "recon.formats.nrrd", (".nrrd", ".nhdr")),
    Format("DICOM RTSTRUCT or SEG", "recon.formats.dicom", (".dcm",), folder=True),
    Format("image stack", "recon.formats.image_stack", STACK_SUFFIXES, folder=True),
    Format("GeoJSON elevation contours", "recon.formats.geojson", (".geojson", ".json")),
    Format("PLY points", "recon.formats.ply_points", (".ply",), PointOptions),
    Format("PCD points", "recon.formats.pcd", (".pcd",), PointOptions),
    Format("LAS or LAZ points", "recon.formats.las", (".las", ".laz"), PointOptions),
    Format("E57 scans", "recon.formats.e57", (".e57",), PointOptions),
    Format("text points", "recon.formats.text_points", (".xyz", ".txt", ".csv", ".asc", ".pts"), PointOptions),
    Format("numpy points", "recon.formats.numpy_points", (".npy", ".npz"), PointOptions),
    Format("mesh vertices", "recon.formats.mesh_points", (".obj", ".stl"), PointOptions),
    Format("KITTI sweep", "recon.formats.kitti", (".bin",), PointOptions),
    Format("RGB-D frames", "recon.formats.rgbd", (), PointOptions, holds=(("color", "depth"),)),
    Format(
        "transforms.json",
        "recon.formats.transforms_json",
        ("transforms.json", *(f"transforms_{part}.json" for part in ("train", "val", "test"))),
        ViewOptions,
        holds=(("transforms.json",), *((f"transforms_{part}.json",) for part in ("train", "val", "test"))),
    ),
    Format(
        "COLMAP model",
        "recon.formats.colmap",
        ("cameras.bin", "images.bin", "points3d.bin", "cameras.txt", "images.txt", "points3d.txt"),
        ViewOptions,
        holds=tuple(
            (f"{place}cameras.{suffix}", f"{place}images.{suffix}")
            for place in ("", "[0-9]/", "sparse/", "sparse/[0-9]/", "colmap/sparse/[0-9]/", "dense/sparse/")
            for suffix in ("bin", "txt")
        ),
    ),
    Format(
        "LLFF poses",
        "recon.formats.llff",
        ("poses_bounds.npy",),
        ViewOptions,
        holds=(("poses_bounds.npy",),),
    ),
    Format(
        "IDR or NeuS cameras",
        "recon.formats.idr",
        ("cameras_sphere.npz", "cameras.npz"),
        ViewOptions,
        holds=(("cameras_sphere.npz",), ("cameras.npz", "image")),
    ),
    Format(
        "Polycam capture",
        "recon.formats.polycam",
        (),
        ViewOptions,
        holds=(("keyframes/corrected_cameras",), ("keyframes/cameras",)),
    ),
    Format(
        "Record3D recording",
        "recon.formats.record3d",
        ("metadata.json",),
        ViewOptions,
        holds=(("metadata.json", "rgb"),),
    ),
    Format(
        "OpenSfM reconstruction",
        "recon.formats.opensfm",
        ("reconstruction.json",),
        ViewOptions,
        holds=(("reconstruction.json",), ("opensfm/reconstruction.json",)),
    ),
    Format("Metashape cameras", "recon.formats.metashape", ("cameras.xml",), ViewOptions, holds=(("cameras.xml",),)),
    Format(
        "projection matrices",
        "recon.formats.projection_matrices",
        (),
        ViewOptions,
        holds=(("P/*_P.txt",), ("images/*_P.txt",), ("*_P.txt",)),
    ),
    Format(
        "Relief cameras", "recon.formats.relief_cameras", ("cameras.json",), ViewOptions, holds=(("cameras.json",),)
    ),
    Format(
        "photos",
        "recon.formats.photos",
        PHOTO_SUFFIXES,
        PhotoOptions,
        holds=(*_any_of(PHOTO_SUFFIXES), *_any_of((*PHOTO_SUFFIXES, *STACK_SUFFIXES), *PHOTO_FOLDERS)),
    ),
    Format("video", "recon.formats.video", (".mp4", ".mov", ".avi", ".mkv", ".webm"), PhotoOptions),
)


def format_of(path: Path) -> Format:
    """The format that reads this path, chosen by its name, or by what is in it where it is a folder.

    Raises:
        UserError: it does not exist, or no format reads it, or a folder holds files of several formats.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        fitting = _by_suffix(path)
        if fitting is None:
            raise UserError(
                f"{path}: its format is not known by its name; the formats of slices are {_known(SliceOptions)}, "
                f"those of points {_known(PointOptions)}, those of views {_known(ViewOptions)}, "
                f"those of photos {_known(PhotoOptions)}"
            )
        return fitting
    with failures_named(path):
        files = [file for file in path.iterdir() if not file.name.startswith(".")]
    for format_ in FORMATS:
        if format_.is_held_by(path):
            return format_
    found = {fitting for file in files if (fitting := _by_suffix(file))}
    stacks = [format_ for format_ in FORMATS if format_ in found and format_.folder]
    if len(stacks) == 1:
        return _photos_or(stacks[0], sorted(files))
    if stacks:
        names = " and ".join(format_.name for format_ in stacks)
        raise UserError(f"{path}: holds files of {names}; name one of them or leave one kind in the folder")
    if found:
        raise UserError(f"{path}: holds files of {', '.join(sorted(f.name for f in found))}; name one of them")
    raise UserError(
        f"{path}: holds neither DICOM files (.dcm) nor images of slices (.png, .tif) nor frames in color/ and depth/ "
        "nor cameras of images (transforms.json, a COLMAP model in sparse/) nor photos (.jpg, or in images/)"
    )


def _photos_or(stack: Format, files: list[Path]) -> Format:
    """The format of a folder of PNG or TIFF files: photos where the first has more colours than any label map."""
    from recon.images import has_many_colors

    first = next((file for file in files if file.name.lower().endswith(STACK_SUFFIXES)), None)
    if first is None or not has_many_colors(first):
        return stack
    return next(format_ for format_ in FORMATS if format_.name == "photos")


def options_type_of(path: Path) -> type[InputOptions]:
    """The class of the options that `read` takes for this path; it tells the kind of input.

    Raises:
        UserError: as `format_of`.
    """
    return format_of(path).options


@overload
def read(path: Path, options: SliceOptions) -> CrossSections: ...
@overload
def read(path: Path, options: PointOptions) -> PointCloud: ...
@overload
def read(path: Path, options: ViewOptions) -> Views: ...
@overload
def read(path: Path, options: InputOptions | None = None) -> Input: ...
def read(path: Path, options: InputOptions | None = None) -> Input:
    """Reads the input at the path, by default with the options that its kind has by themselves.

    Raises:
        UserError: as `format_of`, what is wrong in the file, or an option that does not fit what it holds.
    """
    format_ = format_of(path)
    options = format_.options() if options is None else options
    if not isinstance(options, format_.options):
        raise UserError(
            f"{path}: holds {KIND_NAMES[format_.options]}; options for {KIND_NAMES[type(options)]} do not fit it"
        )
    reader = importlib.import_module(format_.module)
    if isinstance(options, PhotoOptions):
        return reader.read(path, options)
    if options.unit not in (None, "mm", "m"):
        raise UserError(f"--unit {options.unit}: the unit of length is mm or m")
    if isinstance(options, SliceOptions):
        found = _sections(reader, path, options, format_)
    elif isinstance(options, PointOptions):
        found = _cloud(reader, path, options, format_)
    else:
        found = reader.read(path, options)
    if options.up is not None:
        found = replace(found, up=_direction(options.up))
    if options.unit not in (None, found.unit):
        note = f"The file states its unit, {found.unit}; --unit {options.unit} is not used."
        return replace(found, notes=(*found.notes, note))
    return found


def _sections(reader: ModuleType, path: Path, options: SliceOptions, format_: Format) -> CrossSections:
    """Slices, with the options that choose among them checked."""
    if options.keep_every < 1:
        raise UserError(f"--keep-every {options.keep_every}: every slice is 1, every second is 2, and so on")
    if options.spacing is not None and format_.name != "image stack":
        raise UserError(f"--spacing: {path} states its own spacing; the option is for image stacks")
    sections = reader.read(path, options)
    if sections.volume is None and (options.keep_every != 1 or options.axis is not None):
        raise UserError(f"--keep-every and --axis choose slices of a label volume; {path} holds contours")
    return sections


def _cloud(reader: ModuleType, path: Path, options: PointOptions, format_: Format) -> PointCloud:
    """Points, those that the options choose."""
    from recon.thinning import chosen

    if options.columns is not None and format_.name not in ("text points", "numpy points"):
        raise UserError(f"--columns: {path} names its columns itself; the option is for text and arrays")
    return chosen(reader.read(path, options), options, path)


def _direction(axis: str) -> tuple[float, float, float]:
    """The unit vector along an axis by its name, -y for the one against y."""
    length = -1.0 if axis.startswith("-") else 1.0
    x, y, z = (length if axis.endswith(name) else 0.0 for name in "xyz")
    return x, y, z


def _by_suffix(path: Path) -> Format | None:
    """The format with the longest suffix that the name ends with."""
    fitting = [(len(suffix), f) for f in FORMATS for suffix in f.suffixes if path.name.lower().endswith(suffix)]
    return max(fitting, key=lambda match: match[0])[1] if fitting else None


def _known(options: type[InputOptions]) -> str:
    """The suffixes of one kind of input."""
    return ", ".join(suffix for format_ in FORMATS if format_.options is options for suffix in format_.suffixes)
