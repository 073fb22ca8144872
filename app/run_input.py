"""The input of a run as methods are given it: photos with their cameras, views with what is held out of them.

Photos get their cameras by structure from motion once, in a run folder of its own that serves every method:

    runs/<input>-poses/     run.json, and what `recon.poses` keeps there

It is known by the digest of the photos and by how they were read, not by which of them are held out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from app.kinds import MethodInput
from app.runs import InputRecord, Request, RunRecord, digest, folder_for, read_record, versions, write_record
from recon.formats import read
from recon.formats.options import PhotoOptions, ViewOptions
from recon.inputs import Input, Photos, Views
from recon.split import split

POSES = "poses"


class Given(NamedTuple):
    """What a method is given, and the folder that its cameras were found in, where they were found by Relief."""

    input: MethodInput
    poses: Path | None = None


def given(input: Input, source: InputRecord) -> Given:
    """What methods are given of an input that was read as `source` says.

    Raises:
        UserError: no cameras can be found, or the options name views that are not there.
        KeyboardInterrupt: stopped while cameras were sought; the same call goes on.
    """
    if isinstance(input, Photos):
        views, folder = _find_cameras(input, source)
        return Given(_split(views, source), folder)
    return Given(_split(input, source))


def input_again(run: Path) -> MethodInput | None:
    """The input of a run as its method was given it, or of a folder of cameras; None where it, or the cameras found for
    it, are not there any more or are others now.

    Raises:
        UserError: the folder holds no run.
    """
    record = read_record(run)
    source = record.input
    path = Path(source.paths[0])
    if not path.exists() or digest(path) != source.digest:
        return None
    input = read(path, source.options)
    if isinstance(input, Photos):
        folder = run if record.method == POSES else poses_of(run, record.poses)
        if folder is None:
            return None
        from recon.poses import poses

        input = poses(input, folder)
    return _split(input, source)


def poses_of(run: Path, noted: str | None) -> Path | None:
    """The folder of the cameras that Relief found for a run's photos: where its record notes it, or beside the run."""
    if noted is None:
        return None
    places = (Path(noted), run.parent / Path(noted).name)
    return next((place for place in places if (place / "run.json").is_file()), None)


def _split(input: MethodInput, source: InputRecord) -> MethodInput:
    if isinstance(input, Views) and isinstance(source.options, ViewOptions | PhotoOptions):
        return split(input, source.options.train_views, source.options.test_views)
    return input


def _find_cameras(photos: Photos, source: InputRecord) -> tuple[Views, Path]:
    """The cameras that an earlier session found, or those that structure from motion finds now."""
    from recon.poses import poses, read_report

    options = msgspec.structs.replace(source.options, train_views=None, test_views=None)  # type: ignore[arg-type]
    request = Request(InputRecord(source.paths, source.digest, options), POSES, {}, 0, "cpu", None)
    folder, earlier, said = folder_for(request, None, fresh=False)
    if said:
        sys.stderr.write(f"note: {said}\n")
    record = earlier or RunRecord("running", request.input, POSES, {}, 0, "cpu", request, versions())
    write_record(folder, record)
    status = "failed"
    try:
        views = poses(photos, folder)
        status = "done"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        report = read_report(folder)
        record.status = status
        record.metrics = {} if report is None else {"photos": len(report.photos), "registered": report.registered}
        write_record(folder, record)
        if report is not None and status == "failed":  # else the lines are among the notes of the views
            sys.stderr.writelines(f"{line}\n" for line in report.lines())
    return views, folder
