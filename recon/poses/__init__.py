"""Cameras of photos that have none, by structure from motion.

    features  ->  matches  ->  cameras and points  ->  the user's coordinates  ->  Views
    (SIFT)        (verified)   (incremental mapping)   (up; GPS where there)      (undistorted as they are read)

Where photos are left out, a second attempt with other settings is made and the better one kept. What was found is kept
in a folder and not computed again for the same photos; a stopped run goes on with the features and matches it has.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from recon.errors import UserError
from recon.inputs import Photos, Views
from recon.poses.features import extract
from recon.poses.mapping import Mapping, color_points, map_incrementally
from recon.poses.matching import choose_pairs, match
from recon.poses.placement import Placement, placement
from recon.poses.report import PoseReport, report_of
from recon.poses.settings import ATTEMPTS, Settings, quiet, threads_to_use
from recon.poses.store import VERSION, PoseFacts, digest_of, keep, kept_facts
from recon.poses.views import posed_views
from recon.progress import Progress, shown

if TYPE_CHECKING:
    import pycolmap

WORK = "work"
FEWEST = 3  # photos with a camera, and
ENOUGH = 0.5  # of all photos: with less there is nothing to train on


def poses(
    photos: Photos,
    folder: Path,
    *,
    seed: int = 0,
    threads: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Views:
    """The photos that structure from motion finds cameras for, as views, with its points.

    What `folder` keeps of the same photos is used. With one thread the same seed gives the same cameras; by default
    OMP_NUM_THREADS tells how many, else all cores are used. Progress is shown on the error stream unless `on_progress`
    takes it.

    Raises:
        UserError: fewer than three photos, or fewer than half of them, get a camera; `read_report` tells why.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    digest = digest_of(photos)
    facts = kept_facts(folder)
    if facts is None or facts.digest != digest:
        work = folder / WORK / digest[:16]
        work.mkdir(parents=True, exist_ok=True)
        with quiet():
            facts = _solve(photos, folder, work, digest, seed, threads or threads_to_use(), on_progress)
        shutil.rmtree(folder / WORK)
    _require_enough(photos, facts.report)
    return posed_views(photos, folder, facts)


def read_report(folder: Path) -> PoseReport | None:
    """The report of the cameras that `poses` kept in the folder, also where they were too few; None without any."""
    facts = kept_facts(folder)
    return None if facts is None else facts.report


def _solve(
    photos: Photos,
    folder: Path,
    work: Path,
    digest: str,
    seed: int,
    threads: int,
    on_progress: Callable[[Progress], None] | None,
) -> PoseFacts:
    """Makes attempts until no photo is left out, and keeps the best."""
    started = time.process_time()
    best: tuple[Mapping, Path, Settings] | None = None
    tried = 0
    for tried, settings in enumerate(ATTEMPTS, 1):
        database = work / f"attempt-{tried}.db"
        mapping = _attempt(photos, database, settings, seed, threads, on_progress)
        if best is None or len(mapping.registered) > len(best[0].registered):
            best = mapping, database, settings
        if len(best[0].registered) == len(photos.photos):
            break
    assert best is not None
    mapping, database, settings = best
    report = report_of(photos, database, mapping, settings.name, tried, time.process_time() - started)
    unit, origin = "unknown", None
    if mapping.model is not None:
        where = _place(mapping.model, photos)
        report = msgspec.structs.replace(report, placement=where.note)
        unit, origin = where.unit, where.origin
    facts = PoseFacts(VERSION, digest, seed, unit, origin, report)
    keep(mapping.model, facts, folder)
    return facts


def _attempt(
    photos: Photos,
    database: Path,
    settings: Settings,
    seed: int,
    threads: int,
    on_progress: Callable[[Progress], None] | None,
) -> Mapping:
    """One attempt, from features to the largest model; what is in the database already is not done again."""
    count = len(photos.photos)
    with _reporting("features", count, on_progress) as done:
        extract(photos, database, settings, threads, done)
    pairs = choose_pairs(database, count, photos.ordered, seed)
    with _reporting("matching", len(pairs), on_progress) as done:
        match(pairs, database, settings, seed, threads, done)
    with _reporting("mapping", count, on_progress) as done:
        return map_incrementally(database, settings, seed, threads, done)


@contextmanager
def _reporting(
    stage: str, steps: int, on_progress: Callable[[Progress], None] | None
) -> Iterator[Callable[[int], None]]:
    """Gives the function that is told how many steps of a stage are done."""
    started = time.monotonic()

    def tell(show: Callable[[Progress], None]) -> Callable[[int], None]:
        def done(step: int) -> None:
            left = (time.monotonic() - started) / step * (steps - step) if step else None
            show(Progress(f"poses: {stage}", step, steps, {}, left))

        return done

    if on_progress is not None:
        yield tell(on_progress)
    else:
        with shown(f"poses: {stage}", steps) as show:
            yield tell(show)


def _place(model: pycolmap.Reconstruction, photos: Photos) -> Placement:
    """Names the model's images, colours its points and moves it to the user's coordinates."""
    import pycolmap

    color_points(model, photos)
    ids = sorted(model.reg_image_ids())
    for image_id in model.images:
        model.image(image_id).name = photos.photos[image_id - 1].name
    cameras = np.tile(np.eye(4), (len(ids), 1, 1))
    cameras[:, :3] = [model.image(i).cam_from_world().matrix() for i in ids]
    where = placement(cameras, [photos.photos[i - 1] for i in ids])
    matrix = np.column_stack([where.scale * where.rotation, where.translation])
    model.transform(pycolmap.Sim3d(matrix))
    return where


def _require_enough(photos: Photos, report: PoseReport) -> None:
    """Refuses what nothing can be trained on, in one sentence."""
    total = len(report.photos)
    if report.registered >= max(FEWEST, ENOUGH * total):
        return
    alone = sum(photo.partners == 0 for photo in report.photos)
    told = f"{alone} share nothing with any other" if alone else "the others do not overlap enough with these"
    raise UserError(
        f"{photos.source}: cameras were found for {report.registered} of {total} photos only ({told}); "
        "take more photos, each overlapping the one before by two thirds, a step aside and not turned on the spot"
    )
