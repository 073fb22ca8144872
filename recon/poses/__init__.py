"""Cameras of photos that have none, by structure from motion.

    features  ->  matches  ->  cameras and points  ->  the user's coordinates  ->  Views
    (SIFT)        (verified)   (incremental mapping)   (up; GPS where there)      (undistorted as they are read)

Where photos are left out, attempts with other settings are made and the best one kept. What was found is kept in a
folder and not computed again for the same photos; a stopped run goes on with the features and matches it has.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from recon.errors import UserError
from recon.inputs import Photos, Views
from recon.poses.report import PoseReport
from recon.poses.settings import quiet, threads_to_use
from recon.poses.solving import Work, solve
from recon.poses.store import VERSION, PoseFacts, digest_of, keep, kept_facts
from recon.poses.views import posed_views
from recon.progress import Progress

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
    takes it. Up is z; lengths are metres where GPS tells them.

    Raises:
        UserError: fewer than three photos, or fewer than half of them, get a camera; `read_report` tells why.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    digest = digest_of(photos)
    facts = kept_facts(folder)
    if facts is None or facts.digest != digest:
        work = Work(photos, folder / WORK / digest[:16], seed, threads or threads_to_use(), on_progress)
        work.folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            found = solve(work)
            facts = PoseFacts(VERSION, digest, seed, found.unit, found.origin, found.report)
            keep(found.model, facts, folder)
        shutil.rmtree(folder / WORK)
    _require_enough(photos, facts.report)
    return posed_views(photos, folder, facts)


def read_report(folder: Path) -> PoseReport | None:
    """The report of the cameras that `poses` kept in the folder, also where they were too few; None without any."""
    facts = kept_facts(folder)
    return None if facts is None else facts.report


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
