"""`relief export`: a run's scene as a file or folder for other programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from app.conversion import what_is_lost
from app.export_splats import SPLAT_SUFFIXES, write_page, write_splat_file
from app.export_transforms import known_points, require_views, write_transforms
from app.kinds import MethodInput, kind_of
from recon.errors import UserError
from recon.files import file_names, replacing
from recon.formats import glb
from recon.formats.meshes import METRES, mesh_format_of, parts, whole, write_scene
from recon.formats.ply_points import write_points
from recon.formats.scene_folder import read_scene_folder
from recon.formats.splats import write_splats
from recon.gaussians.cleaning import SplatCleaning, cleaned
from recon.inputs import PointCloud, Views
from recon.rotations import shortest_turn
from recon.scene import Scene

SUFFIXES = {"glb": ".glb", "obj": ".obj", "ply": ".ply", "stl": ".stl", "usd": ".usdc"}
TEXTURED = ("blender", "glb", "obj")
TARGETS = ("blender", *SUFFIXES, *SPLAT_SUFFIXES, "html", "transforms")
BLENDER_VARIABLE = "RELIEF_BLENDER"
BLENDER_SECONDS = 900
SIGNATURE = "Exported by Relief"
SCRIPT = Path(__file__).parent / "blender" / "import_relief.py"


class Export(NamedTuple):
    """What was written, and a sentence for each thing that the target cannot hold."""

    path: Path
    notes: list[str]


def export(
    run_dir: Path,
    to: str,
    out: Path | None = None,
    input: MethodInput | None = None,
    blender: Path | None = None,
    fresh: bool = False,
    texture: int | None = None,
    cleaning: SplatCleaning | None = None,
) -> Export:
    """Writes the scene of a run for the target `to`, at `out` or in the run's folder `export`.

    `input` is what the run was made of, for Blender, for the photos of `transforms`, and for a texture of `texture`
    texels a side in the colours of its points. `blender` is a Blender executable or a Python that has bpy, by default
    what RELIEF_BLENDER names: with it the folder holds scene.blend too. `cleaning` says which splats are kept. What
    stands at `out` is replaced only when all is written; a folder there must be an earlier export, or `fresh`.

    Raises:
        UserError: the target is unknown or needs another kind of run, `out` is in use for something else, or Blender is
            not found or fails.
    """
    if to not in TARGETS:
        raise UserError(f"--to {to}: there is no such target; choose one of {', '.join(TARGETS)}")
    scene = read_scene_folder(run_dir / "scene")
    _check_holds(scene, run_dir, to)
    scene = cleaned(scene, cleaning or SplatCleaning())
    if texture is not None:
        scene = _textured(scene, to, input, texture)
    if to in SPLAT_SUFFIXES:
        path = out or run_dir / "export" / f"{run_dir.resolve().name}{SPLAT_SUFFIXES[to]}"
        return Export(path, [*scene.notes, *write_splat_file(scene, to, path)])
    if to in SUFFIXES:
        return _export_mesh(scene, run_dir, to, out, fresh)
    folder = out or run_dir / "export" / to
    _check_folder(folder, fresh)
    if to == "html":
        return Export(folder, [*scene.notes, *write_page(scene, run_dir.resolve().name, folder, SIGNATURE)])
    if to == "transforms":
        write_transforms(scene, require_views(input, run_dir), folder, SIGNATURE)
        return Export(folder, [])
    named = blender or (Path(os.environ[BLENDER_VARIABLE]) if os.environ.get(BLENDER_VARIABLE) else None)
    return Export(_write_blender_folder(run_dir, scene, input, folder, named), list(scene.notes))


def _export_mesh(scene: Scene, run_dir: Path, to: str, out: Path | None, fresh: bool) -> Export:
    """One file of all objects, or a folder of a file for each."""
    path = out or run_dir / "export" / f"{run_dir.resolve().name}{SUFFIXES[to]}"
    if path.suffix == "" or path.is_dir():
        return Export(_write_objects(scene, path, SUFFIXES[to], fresh), [])
    if mesh_format_of(path) is not mesh_format_of(Path("_" + SUFFIXES[to])):
        raise UserError(f"--out {path}: --to {to} writes files that end in {SUFFIXES[to]}")
    write_scene(scene, path)
    return Export(path, [*what_is_lost(scene, path), *_pass_points_on(scene, path)])


def _pass_points_on(scene: Scene, path: Path) -> list[str]:
    """Writes the run's points beside a PLY mesh; a sentence about where they are, or that they are left out."""
    if scene.points is None:
        return []
    if path.suffix.lower() != ".ply":
        return [f"the run's {len(scene.points.points):,} points are left out; --to ply writes them beside the mesh"]
    points = path.with_name(f"{path.stem}-points.ply")
    write_points(scene.points, points)
    return [f"the run's {len(scene.points.points):,} points are in {points}"]


def _textured(scene: Scene, to: str, input: MethodInput | None, size: int) -> Scene:
    """The scene's mesh with the points' colours as its texture."""
    from recon.surface.texture import textured

    if to not in TEXTURED:
        raise UserError(f"--texture: --to {to} holds no texture; {', '.join(TEXTURED)} do")
    cloud = input if isinstance(input, PointCloud) and input.colors is not None else scene.points
    if cloud is None:
        raise UserError("--texture: there are no points with colours; neither the run's input nor its scene has them")
    return replace(scene, mesh=textured(whole(scene), cloud, size), objects={}, labels=())


def _check_holds(scene: Scene, run_dir: Path, to: str) -> None:
    """Refuses a target for what the run has not made."""
    if to in SPLAT_SUFFIXES and scene.gaussians is None:
        raise UserError(f"--to {to}: {run_dir} holds no splats; they come from photos, with a method that trains them")
    if to == "transforms" and not scene.cameras:
        raise UserError(f"--to transforms: {run_dir} holds no cameras; they come from photos")
    if to in SUFFIXES and not scene.has_mesh:
        fitting = ", ".join((*SPLAT_SUFFIXES, "html", "blender"))
        raise UserError(f"--to {to}: {run_dir} holds splats and no mesh; choose one of {fitting}")


def _check_folder(folder: Path, fresh: bool) -> None:
    """Refuses to replace what is not an export of ours."""
    if folder.is_file():
        raise UserError(f"--out {folder}: is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not _is_export(folder) and not fresh:
        raise UserError(f"--out {folder}: holds files that Relief did not export; give another folder, or --fresh")


def _is_export(folder: Path) -> bool:
    readme = folder / "README.txt"
    return readme.is_file() and readme.read_bytes().startswith(SIGNATURE.encode())


def _write_objects(scene: Scene, folder: Path, suffix: str, fresh: bool) -> Path:
    """A file for each object in a folder."""
    _check_folder(folder, fresh)
    written = parts(scene)
    names = file_names(part.name for part in written)
    labels = {label.name: label for label in scene.labels}
    with replacing(folder) as partial:
        for part in written:
            label = (labels[part.name],) if part.name in labels else ()
            one = Scene(objects={part.name: part.mesh}, labels=label, frame=scene.frame)
            write_scene(one, partial / f"{names[part.name]}{suffix}")
        (partial / "README.txt").write_text(f"{SIGNATURE}: the objects, a file each; unit: {scene.frame.unit}.\n")
    return folder


def _write_blender_folder(
    run_dir: Path, scene: Scene, input: MethodInput | None, folder: Path, blender: Path | None
) -> Path:
    """scene.glb or frame.json, contours.json or points.ply, splats.ply, cameras.json, import_relief.py, README.txt;
    scene.blend where there is a Blender."""
    launch = None if blender is None else _launch_command(blender)
    with replacing(folder) as partial:
        partial.mkdir()
        if scene.has_mesh:
            glb.write(scene, partial / "scene.glb")
        else:
            _write_frame(scene, partial / "frame.json")
        beside = input if scene.points is None else scene.points
        if scene.gaussians is not None:
            write_splats(scene, partial / "splats.ply")
            beside = known_points(scene, input if isinstance(input, Views) else None)
        if beside is not None:
            kind_of(beside).write_for_blender(beside, partial)
        if (run_dir / "scene" / "cameras.json").is_file():
            shutil.copyfile(run_dir / "scene" / "cameras.json", partial / "cameras.json")
        shutil.copyfile(SCRIPT, partial / SCRIPT.name)
        (partial / "README.txt").write_text(_readme(run_dir, scene), encoding="utf-8")
        if launch is not None:
            _run_blender(launch, partial)
    return folder


def _write_frame(scene: Scene, path: Path) -> None:
    """What scene.glb says where there is a mesh: the unit, an offset that makes coordinates small, and the matrix from
    the user's coordinates, less the offset, to Blender's Z-up metres."""
    frame = scene.frame
    matrix = METRES.get(frame.unit, 1.0) * shortest_turn(frame.up, (0.0, 0.0, 1.0))
    facts = {"unit": frame.unit, "offset": frame.translation.tolist(), "to_blender": matrix.tolist()}
    path.write_text(json.dumps(facts), encoding="utf-8")


def _launch_command(blender: Path) -> list[str]:
    """The start of the command that runs a script in Blender, be it the program or a Python that has bpy.

    Raises:
        UserError: the path is neither.
    """
    named = f"--blender {blender}"
    try:
        answer = subprocess.run([blender, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    except OSError as problem:
        raise UserError(
            f"{named}: cannot be started ({problem.strerror}); give a Blender or a Python with bpy"
        ) from problem
    except subprocess.TimeoutExpired as problem:
        raise UserError(f"{named}: does not answer to --version; give a Blender or a Python with bpy") from problem
    if answer.startswith("Blender"):
        return [str(blender), "--background", "--factory-startup", "--python-exit-code", "1", "--python"]
    if answer.startswith("Python"):
        return [str(blender), "-s"]
    raise UserError(f"{named}: is neither a Blender nor a Python with bpy")


def _run_blender(launch: list[str], folder: Path) -> None:
    """Lets Blender import the folder and save scene.blend in it. Relief's own Python paths are none of Blender's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [*launch, SCRIPT.name, "--", "--save", "scene.blend"]
    try:
        done = subprocess.run(
            command, cwd=folder, env=clean, capture_output=True, text=True, timeout=BLENDER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as problem:
        raise UserError(f"--blender {launch[0]}: took more than {BLENDER_SECONDS} s; nothing was written") from problem
    if done.returncode != 0 or not (folder / "scene.blend").is_file():
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no message"]
        raise UserError(f"--blender {launch[0]}: could not import the scene ({last[0]}); nothing was written")


def _readme(run_dir: Path, scene: Scene) -> str:
    unit = scene.frame.unit
    up = " ".join(f"{axis:g}" for axis in scene.frame.up)
    scale = "one unit is taken as one metre" if unit == "unknown" else f"{unit}, scaled to metres by the root node"
    return f"""{SIGNATURE} from {run_dir.resolve().name}.

scene.glb         the meshes: glTF 2.0, Y-up, metres, linear colours (a run without a mesh has frame.json instead)
splats.ply        the splats (of a run from photos) in the user's coordinates, for add-ons that draw them: Blender's own
                  PLY import keeps their attributes but shows points
contours.json     the input's contours in the user's coordinates (where the input was there)
points.ply        the points (of a run from points or photos), in the user's coordinates less the offset in points.json
cameras.json      the input's cameras, OpenCV axes, in the user's coordinates (where the run has cameras)
import_relief.py  brings all of it into Blender 4.2 or newer
scene.blend       the same, already imported (where a Blender was given)

In Blender: Scripting workspace, open import_relief.py, run it. From a shell:

    blender --background --python import_relief.py -- --save scene.blend

The user's unit: {scale}. The user's upward direction: {up}.
In scene.glb the root node turns and scales; its extras say what the user's coordinates were, and the vertices are these
coordinates themselves, less the offset that each object's node carries where the scene lies far from the origin.
In Blender: Z is up, lengths are metres, and the offset is left out; the collection "Relief" has it as a property.
"""
