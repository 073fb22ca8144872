"""`reconstruct INPUT`: from a path on disk to a run folder with meshes, a report and a record."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import tyro

from app.arguments import input_first, parse, parse_some, value_of
from app.kinds import InputType, MethodInput, kind_of, type_for_methods, type_read_with
from app.run_input import Given, given
from app.runs import InputRecord, Request, RunRecord, digest, folder_for, versions, write_record
from recon.errors import UserError
from recon.formats import InputOptions, options_type_of, read
from recon.limits import require_memory
from recon.methods import METHODS, Method, method_named
from recon.progress import spoken
from recon.surface.boundary import in_words

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
    input: MethodInput
    method: Method
    folder: Path
    record: RunRecord


def reconstruct(arguments: list[str]) -> int:
    """Runs the command with its arguments and gives the exit status.

    Raises:
        UserError: the input or an option is wrong.
        recon.training.Interrupted: stopped between two steps, with the work saved.
    """
    arguments = input_first(arguments)
    if "--help" in arguments or "-h" in arguments or not arguments:
        _help(arguments)
    asked = parse_some(arguments, "reconstruct", Options)
    reading = options_type_of(asked.input)
    takes = type_for_methods(type_read_with(reading))
    if asked.method != "auto":
        _check_kind(method_named(asked.method), takes, asked.input)
    input = read(asked.input, parse_some(arguments, "reconstruct", reading))
    name = kind_of(takes).best_method(input) if asked.method == "auto" else asked.method
    method = method_named(name)
    parsed = _parsed(arguments, method, reading, asked.quality)
    device = _device(parsed.general.device)
    source = InputRecord((str(asked.input),), digest(asked.input), parsed.reading)
    job, done = _begin(parsed.general, device, source, parsed.config, given(input, source), method)
    if not done:
        _carry_out(job)
    _tell(job, done)
    return 0


def _help(arguments: list[str]) -> None:
    """Prints the usage with the flags of the method that is named, or of the first one for the input, and exits."""
    name = value_of("--method", arguments)
    there = bool(arguments) and Path(arguments[0]).exists()
    if name in (None, "auto"):
        takes = type_for_methods(type_read_with(options_type_of(Path(arguments[0])))) if there else METHODS[0].takes
        name = next(method.name for method in METHODS if method.takes is takes)
    method = method_named(name)
    reading = options_type_of(Path(arguments[0])) if there else kind_of(method.takes).OPTIONS
    _parsed(arguments, method, reading)


def _parsed(arguments: list[str], method: Method, reading: type[InputOptions], quality: str = "standard") -> Any:
    """All options, those of the input's kind and the method's among them."""
    _, config_type = method.load()
    config = config_type.at(quality)  # type: ignore[attr-defined]
    return parse(arguments, "reconstruct", general=Options, reading=reading, config=config)


def _check_kind(method: Method, takes: InputType, path: Path) -> None:
    """Refuses a method for another kind of input."""
    if method.takes is not takes:
        fitting = ", ".join(other.name for other in METHODS if other.takes is takes)
        raise UserError(
            f"--method {method.name}: takes {kind_of(method.takes).NAME}, and {path} holds {kind_of(takes).NAME}; "
            f"choose one of: auto, {fitting}"
        )


def _begin(
    options: Options, device: str, source: InputRecord, config: Any, ready: Given, method: Method
) -> tuple[_Job, bool]:
    """The job with its folder and record, and whether an earlier session has done it already."""
    input = ready.input
    request = Request(source, method.name, msgspec.to_builtins(config), options.seed, device, options.time_limit)
    folder, earlier, said = folder_for(request, options.out, options.fresh)
    for note in (*input.notes, *([said] if said else [])):
        sys.stderr.write(f"note: {note}\n")
    if earlier is not None:
        return _Job(options, input, method, folder, earlier), earlier.status == "done"
    if options.time_limit is not None and method.budget:
        config = method.fitting(input, config, device, options.time_limit)
    record = RunRecord(
        "running", source, method.name, msgspec.to_builtins(config), options.seed, device, request, versions()
    )
    record.poses = None if ready.poses is None else str(ready.poses)
    write_record(folder, record)
    return _Job(options, input, method, folder, record), False


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


def _carry_out(job: _Job) -> None:
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
        _announce(job, config)
        scene = function(job.input, config, train)
        _conclude(job, scene, train)
    except BaseException as ended:
        _note_end(job, train, ended)
        raise
    if page:
        _keep_showing(page, job)


def _announce(job: _Job, config: Any) -> None:
    """Says what the work will take.

    Raises:
        UserError: it needs more memory than there is.
    """
    cost = job.method.cost(job.input, config, job.record.device)
    if cost is not None:
        sys.stderr.write(f"{job.method.name}: about {spoken(cost.seconds)} and {cost.megabytes / 1e3:.1f} GB\n")
        require_memory(1e6 * cost.megabytes, cost.remedy)


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
    from app.heldout import write_heldout
    from app.report import write_report
    from recon.formats.scene_folder import write_scene_folder

    record = job.record
    write_scene_folder(scene, job.folder / "scene")
    write_heldout(scene, job.folder)
    scene = scene.in_user_frame()
    record.frame = msgspec.to_builtins(scene.frame, enc_hook=lambda array: array.tolist())
    record.labels = [msgspec.to_builtins(label) for label in scene.labels]
    record.warnings = [*job.input.notes, *scene.notes, *train.warnings]
    record.stages = train.records
    record.metrics = _metrics(scene, job.input)
    record.status = "done"
    write_report(job.folder, msgspec.to_builtins(record), scene, job.input)
    write_record(job.folder, record)


def _metrics(scene: Scene, input: MethodInput) -> dict[str, Any]:
    """How well the result agrees with the input, and what its meshes and splats are like."""
    from recon.formats.meshes import whole
    from recon.surface.facts import mesh_facts

    found = kind_of(input).metrics(scene, input)
    if scene.gaussians is not None:
        found["splats"] = {"count": len(scene.gaussians), "sh_degree": scene.gaussians.sh_degree}
    if scene.has_mesh:
        meshes = scene.objects or {"mesh": whole(scene)}
        found["objects"] = {name: msgspec.to_builtins(mesh_facts(mesh)) for name, mesh in meshes.items()}
    return found


def _live_page(job: _Job) -> LivePreview | None:
    if not job.options.view:
        return None
    from app.viewer.live import LivePreview

    return LivePreview(job.options.input.name, job.input)


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
    unit, metrics = job.record.frame["unit"], job.record.metrics
    if "splats" in metrics:
        print(f"  {metrics['splats']['count']:,} splats, colours of degree {metrics['splats']['sh_degree']}")
    for name, facts in metrics.get("objects", {}).items():
        closed = "watertight" if facts["watertight"] else _boundary(facts, "" if unit == "unknown" else f" {unit}")
        print(f"  {name}: {facts['faces']:,} faces, {closed}, Euler number {facts['euler_number']}")
    for line in kind_of(job.method.takes).summary(metrics, unit):
        print(line)
    if job.record.poses is not None:
        print(f"poses     {job.record.poses}")
    print(f"report    {job.folder / 'report.html'}")
    target = "blender" if metrics.get("objects") else "html"
    print(f"next      relief view {job.folder}   relief export {job.folder} --to {target}")


def _boundary(facts: dict[str, Any], unit: str) -> str:
    """How many loops there are, and how long."""
    return in_words(facts["boundary_loops"], f"{sum(facts['boundary_lengths']):.4g}{unit}")
