"""The commands of `relief` besides `reconstruct`: each a function whose signature and docstring make its flags."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
import tyro

from app.arguments import check_ranges, input_first, parse, parse_some
from app.conversion import Cleaning
from recon.errors import UserError
from recon.gaussians.cleaning import SplatCleaning


def methods() -> None:
    """Lists the methods: for which input, good for what, and their sources."""
    from recon.methods import METHODS

    for method in METHODS:
        print(f"{method.name}\n  for       {method.inputs}\n  good for  {method.good_for}\n  source    {method.source}")


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """Says what an input holds and how it was understood; changes nothing."""

    input: tyro.conf.Positional[Path]
    """File or folder."""
    json: bool = False
    """Print JSON instead of tables."""


def inspect(arguments: list[str]) -> None:
    """`relief inspect`: the flags are those of the input's kind."""
    from rich.console import Console

    from app.inspection import describe, print_description
    from recon.formats import format_of, options_type_of, read

    arguments = input_first(arguments)
    asked = parse_some(arguments, "relief inspect", Inspection)
    parsed = parse(arguments, "relief inspect", general=Inspection, reading=options_type_of(asked.input))
    description = describe(read(asked.input, parsed.reading), asked.input, format_of(asked.input).name)
    if asked.json:
        _print_json(description)
    else:
        print_description(description, Console())


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Shows a run folder, a mesh file or an input in the browser until Ctrl-C."""

    path: tyro.conf.Positional[Path]
    """What to show."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but 127.0.0.1 lets others in."""
    port: int = 8080
    """Port; the next free one where it is taken."""
    browser: bool = False
    """Open the page in the default browser."""


def view(arguments: list[str]) -> None:
    """`relief view`: an input has the flags of its kind."""
    from app.viewer.content import is_input
    from app.viewer.serving import serve
    from recon.formats import options_type_of

    arguments = input_first(arguments)
    asked = parse_some(arguments, "relief view", View)
    reading = {"reading": options_type_of(asked.path)} if is_input(asked.path) else {}
    parsed = parse(arguments, "relief view", general=View, **reading)
    serve(asked.path, asked.host, asked.port, asked.browser, parsed.reading if reading else None)


def export(
    run: tyro.conf.Positional[Path],
    to: str,
    out: Path | None = None,
    blender: Path | None = None,
    fresh: bool = False,
    texture: int | None = None,
    splats: tyro.conf.OmitArgPrefixes[SplatCleaning] = SplatCleaning(),  # noqa: B008 - frozen
) -> None:
    """Writes a run's result for another program.

    Args:
        run: Folder of the run.
        to: blender, html; of meshes: glb, obj, ply, stl, usd; of splats: splats-ply, splats-compressed, splats-glb,
            splat, spz, sog; of photos: transforms.
        out: File or folder to write; in the run's folder export by default.
        blender: A Blender, or a Python that has bpy, to write scene.blend with.
        fresh: Replace a folder that is no earlier export.
        texture: Bake the points' colours into a texture of so many texels a side (blender, glb, obj).
        splats: Which splats are kept.
    """
    import app.export
    from app.run_input import input_again

    check_ranges(splats)
    written = app.export.export(run, to, out, input_again(run), blender, fresh, texture, splats)
    for note in written.notes:
        sys.stderr.write(f"note: {note}\n")
    print(written.path)


def render(
    run: tyro.conf.Positional[Path],
    path: Literal["orbit", "cameras"] = "orbit",
    out: Path | None = None,
    frames: int = 120,
    size: tuple[int, int] = (1280, 720),
    fps: int = 30,
) -> None:
    """Renders a run along a camera path, as a video or as pictures.

    Args:
        run: Folder of the run.
        path: orbit goes once around it, cameras along where the photos were taken.
        out: Video (.mp4, .mkv, .mov, .webm) or folder for pictures; in the run's folder export by default.
        frames: How many pictures.
        size: Width and height in pixels.
        fps: Pictures a second of a video.
    """
    from app.rendering import render_path

    print(render_path(run, path, out, frames, size, fps))


def convert(
    source: tyro.conf.Positional[Path],
    target: tyro.conf.Positional[Path],
    cleaning: tyro.conf.OmitArgPrefixes[Cleaning] = Cleaning(),  # noqa: B008 - frozen
    splats: tyro.conf.OmitArgPrefixes[SplatCleaning] = SplatCleaning(),  # noqa: B008 - frozen
    spz_version: Literal[2, 3, 4] | None = None,
) -> None:
    """Writes the meshes or the splats of one file in another format, cleaned if asked.

    Args:
        source: File to read.
        target: File to write; its ending says the format.
        cleaning: What is done to meshes on the way.
        splats: Which splats are kept.
        spz_version: Version of an SPZ file; 3 by default, which most programs read.
    """
    from app.conversion import convert

    check_ranges(splats)
    for note in convert(source, target, cleaning, splats, spz_version):
        sys.stderr.write(f"note: {note}\n")
    print(target)


def compare(result: tyro.conf.Positional[Path], truth: tyro.conf.Positional[Path], json: bool = False) -> None:
    """Measures a mesh against the true one (docs/metrics.md says what each figure is).

    Args:
        result: Mesh file or run folder.
        truth: Mesh file.
        json: Print JSON.
    """
    from recon.formats.meshes import read_scene, whole
    from recon.metrics import compare

    figures = compare(whole(read_scene(_mesh_file(result))), whole(read_scene(_mesh_file(truth))))
    if json:
        _print_json(figures)
        return
    for name, value in msgspec.to_builtins(figures).items():
        print(f"{name:20s} {value:.6g}" if isinstance(value, float) else f"{name:20s} {value}")


def _mesh_file(path: Path) -> Path:
    """The mesh of a run, or the file itself.

    Raises:
        UserError: the run has none.
    """
    if not path.is_dir():
        return path
    if not (path / "scene" / "mesh.ply").is_file():
        raise UserError(f"{path}: holds no mesh (scene/mesh.ply) to compare; give a run that made one, or a mesh file")
    return path / "scene" / "mesh.ply"


def report(run: tyro.conf.Positional[Path]) -> None:
    """Writes a run's report.html again.

    Args:
        run: Folder of the run.
    """
    from app.heldout import with_heldout
    from app.report import write_report
    from app.run_input import input_again
    from app.runs import read_record
    from recon.formats.scene_folder import read_scene_folder

    record = msgspec.to_builtins(read_record(run))
    scene = with_heldout(read_scene_folder(run / "scene"), run)
    print(write_report(run, record, scene, input_again(run)))


def doctor(json: bool = False) -> None:
    """Says what this machine has, what will be used, and what is missing.

    Args:
        json: Print JSON.
    """
    from app.doctor import diagnose, print_diagnosis

    diagnosis = diagnose()
    if json:
        _print_json(diagnosis)
    else:
        print_diagnosis(diagnosis)


def _print_json(value: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=1).decode())
