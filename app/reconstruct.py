"""`reconstruct INPUT`: from a path on disk to a run folder with meshes, a report and a record."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import tyro

from app.runs import InputRecord, Request, RunRecord, digest, folder_for, versions, write_record
from recon.errors import UserError
from recon.formats import ReadOptions, read
from recon.inputs import CrossSections
from recon.methods import Method, method_named

if TYPE_CHECKING:
    from app.viewer.live import LivePreview
    from recon.scene import Scene
    from recon.training import Trainer


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What every method takes."""

    input: tyro.conf.Positional[Path]
    """File or folder to reconstruct from."""
    method: str = "auto"
    """The method's name, or auto: the one that suits the input best. `relief methods` lists them."""
    out: Path | None = None
    """Folder of the run; runs/<input>-<method> by default."""
    quality: Literal["draft", "standard", "high"] = "standard"
    """draft answers in seconds, standard is what the published figures are measured at, high takes what it needs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks are trained."""
    seed: int = 0
    """Seed of everything random."""
    time_limit: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Minutes that training may take; turned into steps once, at the start, and recorded."""
    fresh: bool = False
    """Start over where the same run was begun or done before."""
    view: bool = False
    """Serve a page that shows the reconstruction while it is being made, and then the result."""
    json: bool = False
    """Print the run's record instead of a summary."""


@dataclass
class _Job:
    """A run on its way: what was asked, what was read, and the record that grows."""

    options: Options
    sections: CrossSections
    method: Method
    folder: Path
    record: RunRecord


def reconstruct(arguments: list[str]) -> int:
    """Runs the command with its arguments and gives the exit status.

    Raises:
        UserError: the input or an option is wrong.
        recon.training.Interrupted: stopped between two steps, with the work saved.
    """
    arguments = _input_first(arguments)
    if "--help" in arguments or "-h" in arguments or not arguments:
        _parsed(arguments, method_named(_value_of("--method", arguments) or "least-bending"))
    known, _ = tyro.cli(_arguments(None), args=arguments, return_unknown_args=True, prog="reconstruct")
    if known.general.method != "auto":
        method_named(known.general.method)
    sections = read(known.general.input, known.reading)
    method = method_named(_best_for(sections) if known.general.method == "auto" else known.general.method)
    parsed = _parsed(arguments, method, known.general.quality)
    job, done = _begin(parsed.general, parsed.reading, parsed.config, sections, method)
    if not done:
        _carry_out(job, parsed.config)
    _tell(job, done)
    return 0


def _arguments(config: Any) -> type:
    """The class that tyro makes the flags from: general and reading options, and a method's with its defaults."""
    fields: list[Any] = [
        ("general", tyro.conf.OmitArgPrefixes[Options]),
        ("reading", tyro.conf.OmitArgPrefixes[ReadOptions]),
    ]
    if config is not None:
        fields.append(("config", tyro.conf.OmitArgPrefixes[type(config)], field(default=config)))
    return make_dataclass("Reconstruct", fields)


def _parsed(arguments: list[str], method: Method, quality: str = "standard") -> Any:
    """All options, the method's among them; an unknown one ends the program with the usage, exit status 2.

    Raises:
        UserError: a value is out of its range.
    """
    _, config_type = method.load()
    parsed = tyro.cli(_arguments(config_type.at(quality)), args=arguments, prog="reconstruct")  # type: ignore[attr-defined]
    for part in (parsed.general, parsed.reading, parsed.config):
        _check_ranges(part)
    return parsed


def _check_ranges(options: Any) -> None:
    """tyro checks types; the ranges stand in the annotations and are msgspec's to check."""
    for name in options.__struct_fields__:
        value = getattr(options, name)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            annotation = next(f.type for f in msgspec.structs.fields(options) if f.name == name)
            try:
                msgspec.convert(value, annotation)
            except msgspec.ValidationError as problem:
                sentence = str(problem).removeprefix("Expected ")
                raise UserError(f"--{name.replace('_', '-')} {value}: expected {sentence}") from problem


def _input_first(arguments: list[str]) -> list[str]:
    """The arguments with the input in front, so that no value of an option yet unknown is taken for it."""
    for n, argument in enumerate(arguments):
        if not argument.startswith("-") and (n == 0 or Path(argument).exists()):
            return [argument, *arguments[:n], *arguments[n + 1 :]]
    return arguments


def _value_of(option: str, arguments: list[str]) -> str | None:
    return arguments[arguments.index(option) + 1] if option in arguments[:-1] else None


def _best_for(sections: CrossSections) -> str:
    """The method that `--method auto` takes."""
    if sections.is_terrain:
        return "height-field"
    return "least-bending" if sections.volume is None else "morphing"


def _begin(
    options: Options, reading: ReadOptions, config: Any, sections: CrossSections, method: Method
) -> tuple[_Job, bool]:
    """The job with its folder and record, and whether an earlier session has done it already."""
    device = _device(options.device)
    source = InputRecord((str(options.input),), digest(options.input), reading)
    request = Request(source, method.name, msgspec.to_builtins(config), options.seed, device, options.time_limit)
    folder, earlier, said = folder_for(request, options.out, options.fresh)
    for note in (*sections.notes, *([said] if said else [])):
        sys.stderr.write(f"note: {note}\n")
    if earlier is not None:
        return _Job(options, sections, method, folder, earlier), earlier.status == "done"
    if options.time_limit is not None and method.budget:
        config = method.fitting(sections, config, device, options.time_limit)
    record = RunRecord(
        "running", source, method.name, msgspec.to_builtins(config), options.seed, device, request, versions()
    )
    write_record(folder, record)
    return _Job(options, sections, method, folder, record), False


def _device(wanted: str) -> str:
    """cpu or cuda.

    Raises:
        UserError: cuda is asked for and there is none.
    """
    if wanted == "cpu":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UserError("--device cuda: torch finds no CUDA device here; relief doctor says why, --device cpu works")
    return "cpu"


def _carry_out(job: _Job, config: Any) -> None:
    """Runs the method, writes the scene, the report and the record."""
    from recon.training import Trainer

    function, config_type = job.method.load()
    page = _live_page(job)
    train = Trainer(
        job.folder / "stages",
        job.record.seed,
        job.record.device,
        on_progress=page.show_progress if page else None,
        on_preview=page.show_scene if page else None,
    )
    config = msgspec.convert(job.record.config, config_type)
    try:
        scene = function(job.sections, config, train)
        _conclude(job, scene, train)
    except BaseException as ended:
        _note_end(job, train, ended)
        raise
    if page:
        _keep_showing(page, job)


def _note_end(job: _Job, train: Trainer, ended: BaseException) -> None:
    """Writes down how the work ended before its end; what was refused before any of it was done leaves nothing."""
    from recon.training import Interrupted

    if isinstance(ended, UserError) and not train.records:
        shutil.rmtree(job.folder)
        return
    job.record.status = "stopped" if isinstance(ended, Interrupted) else "failed"
    job.record.stages, job.record.warnings = train.records, train.warnings
    write_record(job.folder, job.record)


def _conclude(job: _Job, scene: Scene, train: Trainer) -> None:
    """Writes what the run leaves; run.json says "done" only when all of it stands."""
    from app.report import write_report
    from recon.formats.scene_folder import write_scene_folder

    record = job.record
    write_scene_folder(scene, job.folder / "scene")
    scene = scene.in_user_frame()
    record.frame = msgspec.to_builtins(scene.frame, enc_hook=lambda array: array.tolist())
    record.labels = [msgspec.to_builtins(label) for label in scene.labels]
    record.warnings = [*job.sections.notes, *scene.notes, *train.warnings]
    record.stages = train.records
    record.metrics = _metrics(scene, job.sections)
    record.status = "done"
    write_report(job.folder, msgspec.to_builtins(record), scene, job.sections)
    write_record(job.folder, record)


def _metrics(scene: Scene, sections: CrossSections) -> dict[str, Any]:
    """How well the result agrees with the input, and what its meshes are like."""
    from recon.formats.meshes import whole
    from recon.metrics import contour_error, held_out_dice
    from recon.surface.facts import mesh_facts

    metrics: dict[str, Any] = {"contour_error": msgspec.to_builtins(contour_error(whole(scene), sections))}
    meshes = scene.objects or {"mesh": whole(scene)}
    metrics["objects"] = {name: msgspec.to_builtins(mesh_facts(mesh)) for name, mesh in meshes.items()}
    if scene.label_grid is not None and sections.volume is not None and len(sections.volume.left_out):
        metrics["held_out"] = msgspec.to_builtins(held_out_dice(sections, scene.label_grid))
    return metrics


def _live_page(job: _Job) -> LivePreview | None:
    if not job.options.view:
        return None
    from app.viewer.live import LivePreview

    return LivePreview(job.options.input.name, job.sections)


def _keep_showing(page: LivePreview, job: _Job) -> None:
    """Shows the result until Ctrl-C."""
    from app.viewer.content import load

    page.finish(load(job.folder))
    page.wait()


def _tell(job: _Job, done_before: bool) -> None:
    """Prints the record, or what a person wants to know of it."""
    if job.options.json:
        print(msgspec.json.format(msgspec.json.encode(job.record), indent=1).decode())
        return
    if done_before:
        print(f"{job.folder}: done before, with the same input and options; --fresh starts over")
    print(f"scene     {job.folder / 'scene'}")
    for name, facts in job.record.metrics["objects"].items():
        closed = "watertight" if facts["watertight"] else f"{facts['boundary_loops']} boundary loops"
        print(f"  {name}: {facts['faces']:,} faces, {closed}, Euler number {facts['euler_number']}")
    print(f"report    {job.folder / 'report.html'}")
    print(f"next      relief view {job.folder}   relief export {job.folder} --to blender")
