"""Attempts at structure from motion, and what the best of them amounts to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from recon.inputs import Photos
from recon.poses.features import extract
from recon.poses.mapping import Mapping, color_points, map_incrementally
from recon.poses.matching import choose_pairs, match
from recon.poses.placement import Placement, placement
from recon.poses.report import PoseReport, report_of
from recon.poses.settings import ATTEMPTS, Attempt
from recon.progress import Progress, shown

if TYPE_CHECKING:
    import pycolmap


@dataclass(frozen=True)
class Work:
    """What is to be solved, and how: `folder` keeps the features and matches until then."""

    photos: Photos
    folder: Path
    seed: int
    threads: int
    on_progress: Callable[[Progress], None] | None

    def database(self, attempt: Attempt) -> Path:
        """The features and matches of an attempt, which attempts with the same search share."""
        return self.folder / f"{attempt.search.name}.db"

    @contextmanager
    def reporting(self, stage: str, steps: int) -> Iterator[Callable[[int], None]]:
        """Gives the function that is told how many steps of a stage are done."""
        if self.on_progress is not None:
            yield _told(self.on_progress, stage, steps)
        else:
            with shown(f"poses: {stage}", steps) as show:
                yield _told(show, stage, steps)


class Solution(NamedTuple):
    """The model in the user's coordinates, None where there is none; `origin` is where GPS says that (0, 0, 0) is."""

    model: pycolmap.Reconstruction | None
    unit: str
    origin: tuple[float, float, float] | None
    report: PoseReport


def solve(work: Work) -> Solution:
    """Makes attempts as long as they are worth it, and places the best."""
    started = time.process_time()
    total = len(work.photos.photos)
    best, attempt, tried = Mapping(None, ()), ATTEMPTS[0], 0
    for candidate in ATTEMPTS:
        if len(best.registered) < candidate.below * total:
            tried += 1
            mapping = _map(work, candidate)
            if len(mapping.registered) > len(best.registered):
                best, attempt = mapping, candidate
    report = report_of(work.photos, work.database(attempt), best, attempt.name, tried, time.process_time() - started)
    if best.model is None:
        return Solution(None, "unknown", None, report)
    where = _place(best.model, work.photos)
    return Solution(best.model, where.unit, where.origin, msgspec.structs.replace(report, placement=where.note))


def _map(work: Work, attempt: Attempt) -> Mapping:
    """From features to the largest model; what is in the database already is not done again."""
    database, count = work.database(attempt), len(work.photos.photos)
    with work.reporting("features", count) as done:
        extract(work.photos, database, attempt.search, work.threads, done)
    pairs = choose_pairs(database, count, work.photos.ordered, work.seed)
    with work.reporting("matching", len(pairs)) as done:
        match(pairs, database, attempt.search, work.seed, work.threads, done)
    with work.reporting("mapping", count) as done:
        return map_incrementally(database, attempt.leniency, work.seed, work.threads, done)


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


def _told(show: Callable[[Progress], None], stage: str, steps: int) -> Callable[[int], None]:
    """Tells of a stage's steps with the time that the rest will take."""
    started = time.monotonic()

    def done(step: int) -> None:
        step = min(step, steps)  # a photo may be placed in several models
        left = (time.monotonic() - started) / step * (steps - step) if step else None
        show(Progress(f"poses: {stage}", step, steps, {}, left))

    return done
