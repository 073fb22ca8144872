"""Stages, and the Trainer that runs them.

A stage is the unit of training: it knows how to do step i, how to save what it has become and how to show it. The
Trainer alone owns the loop: progress, checkpoints, resume, the guard against NaN, Ctrl-C. The clock decides when it
saves and shows, never what a step computes: with the same seed, a run that was stopped anywhere and went on gives on
the CPU, bit for bit, what an unbroken one gives.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import msgspec
import numpy as np

from recon import checkpoints
from recon.checkpoints import DamagedCheckpoint, UnwritableCheckpoint
from recon.errors import UserError
from recon.progress import Progress, shown
from recon.scene import Scene

Result_co = TypeVar("Result_co", covariant=True)

HISTORY = 500  # the points that a stage's loss curve is thinned to
SHOWN_EVERY = 0.1  # seconds between two updates of the progress
SHARE = 0.1  # of the time at most goes into checkpoints, and as much into previews

logger = logging.getLogger(__name__)


@runtime_checkable
class Stage(Protocol[Result_co]):
    """One unit of work of `steps` steps whose whole state fits in named, finite arrays.

    `state_dict` after step i, loaded into a fresh stage, makes step i + 1 give what it would have given: it holds the
    random generator's state too. `result` is called after the last step, or after the finished state was loaded.
    """

    name: str
    steps: int

    def step(self, i: int) -> dict[str, float]:
        """Does step i (0-based) and gives its losses by name."""
        ...

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything that the following steps and the result depend on and the input does not give."""
        ...

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Takes a saved state back."""
        ...

    def preview(self) -> Scene | None:
        """What it looks like so far, cheap and without a trace in the state; None where there is nothing to show."""
        ...

    def result(self) -> Result_co:
        """What the stage was run for."""
        ...


class StageRecord(msgspec.Struct):
    """What a stage has cost so far, over all the sessions that worked on it; a row of run.json's `stages`.

    `steps` are those done. `losses` maps a loss's name to its curve, at most `HISTORY` pairs (step, value).
    `peak_memory_mb` is the process's high-water mark when the stage ended (0 where the system does not tell).
    """

    name: str
    steps: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    losses: dict[str, list[tuple[int, float]]] = {}


class _Facts(msgspec.Struct):
    """What a checkpoint says beside its arrays. `lineage` is the digest of the stage before it: a state goes on from
    the very result it was started on, or is not used."""

    record: StageRecord
    planned_steps: int
    lineage: int


class Interrupted(KeyboardInterrupt):
    """Stopped by Ctrl-C or SIGTERM between two steps; the message says up to where the work is saved."""


class Diverged(Exception):
    """A loss or a state is no longer finite; the last good checkpoint is kept."""


class Trainer:
    """Runs a stage to its end, from its last checkpoint if there is one, and gives its result.

    `records` has a row per stage, the last one unfinished where the run was stopped, and `warnings` the sentences for
    run.json.
    """

    def __init__(
        self,
        folder: Path | None = None,
        seed: int = 0,
        device: str = "cpu",
        checkpoint_seconds: float = 30.0,
        preview_seconds: float = 5.0,
        on_progress: Callable[[Progress], None] | None = None,
        on_preview: Callable[[Scene], None] | None = None,
    ) -> None:
        """`folder` takes the checkpoints; without one nothing is saved. The two callbacks are called between steps, in
        the thread that trains: `on_progress` about ten times a second, `on_preview` every `preview_seconds`."""
        self.folder, self.seed, self.device = folder, seed, device
        self.checkpoint_seconds, self.preview_seconds = checkpoint_seconds, preview_seconds
        self.on_progress, self.on_preview = on_progress, on_preview
        self.records: list[StageRecord] = []
        self.warnings: list[str] = []
        self._stop_requested = False
        self._lineage = 0

    def __call__(self, stage: Stage[Result_co]) -> Result_co:
        """Trains the stage, or loads it where it was finished before, and gives `stage.result()`.

        Raises:
            Interrupted: Ctrl-C, SIGTERM or `request_stop`.
            Diverged: a loss or a state became NaN or infinite.
            UserError: the checkpoint is whole but does not fit the stage (made by another version).
        """
        path = None if self.folder is None else self.folder / f"{len(self.records) + 1:02d}-{stage.name}.safetensors"
        record = self._resume(stage, path)
        self.records.append(record)
        if record.steps < stage.steps:
            _Run(self, stage, record, path).to_the_end()
        if path is not None:
            self._lineage = checkpoints.digest(stage.state_dict())
        return stage.result()

    def request_stop(self) -> None:
        """Stops as Ctrl-C does: after the step, with the work saved. For other threads."""
        self._stop_requested = True

    def warn(self, sentence: str) -> None:
        """Says the sentence on the error stream and keeps it for run.json."""
        logger.warning(sentence)
        self.warnings.append(sentence)

    def _resume(self, stage: Stage, path: Path | None) -> StageRecord:
        """Loads the checkpoint into the stage where there is a usable one; the record says how far it is."""
        fresh = StageRecord(stage.name, losses={})
        if path is None or not path.exists():
            return fresh
        try:
            state, text = checkpoints.read(path)
            facts = msgspec.json.decode(text, type=_Facts)
        except (DamagedCheckpoint, msgspec.DecodeError) as problem:
            self.warn(f"{path}: the checkpoint is damaged ({problem}); stage {stage.name} starts over")
            return fresh
        if (facts.planned_steps, facts.lineage) != (stage.steps, self._lineage):
            self.warn(
                f"{path}: the checkpoint belongs to another plan or another result of the stage before; "
                f"stage {stage.name} starts over"
            )
            return fresh
        try:
            stage.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError) as problem:
            raise UserError(
                f"{path}: the checkpoint does not fit stage {stage.name} of this version of Relief ({problem}); "
                "--fresh starts over"
            ) from problem
        return facts.record


class _Run:
    """One stage's way through the loop in this session."""

    def __init__(self, trainer: Trainer, stage: Stage, record: StageRecord, path: Path | None) -> None:
        self.trainer, self.stage, self.record, self.path = trainer, stage, record, path
        self.first = record.steps
        self.saved = record.steps  # the step that the checkpoint on disk has reached
        self.stride = max(1, math.ceil(stage.steps / HISTORY))
        self.cpu_before, self.cpu_start = record.cpu_seconds, time.process_time()
        self.wall_before, self.wall_start = record.wall_seconds, time.monotonic()
        self.write_failed = False

    def to_the_end(self) -> None:
        """Steps until the plan is done or someone stops it."""
        trainer, stage = self.trainer, self.stage
        saving = _Pace(trainer.checkpoint_seconds)
        previewing = _Pace(trainer.preview_seconds)
        showing = _Pace(SHOWN_EVERY)
        with _signals_noted(trainer), shown(stage.name, stage.steps) as show:
            for i in range(self.first, stage.steps):
                losses = stage.step(i)
                self._take_down(i, losses)
                if trainer._stop_requested:
                    self._stop()
                now = time.monotonic()
                if showing.due(now) or i + 1 == stage.steps:
                    with showing:
                        self._tell(show, losses, now)
                if self.path is not None and saving.due(now) and i + 1 < stage.steps:
                    with saving:
                        self._save()
                if trainer.on_preview is not None and previewing.due(now):
                    with previewing:
                        self._preview(trainer.on_preview)
            self._save()

    def _take_down(self, i: int, losses: dict[str, float]) -> None:
        """Notes the losses of step i in the record."""
        for name, value in losses.items():
            if not math.isfinite(value):
                self._diverge(f"the loss {name} is {value}")
            if i % self.stride == 0 or i + 1 == self.stage.steps:
                self.record.losses.setdefault(name, []).append((i, value))
        self.record.steps = i + 1

    def _save(self) -> None:
        """Writes the checkpoint; a full disk is said once, and the work goes on with the old checkpoint kept."""
        self.record.cpu_seconds = self.cpu_before + time.process_time() - self.cpu_start
        self.record.wall_seconds = self.wall_before + time.monotonic() - self.wall_start
        self.record.peak_memory_mb = max(self.record.peak_memory_mb, _peak_memory_mb())
        state = self.stage.state_dict()
        for name, array in state.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                self._diverge(f"the state {name} holds NaN or infinity")
        if self.path is None:
            return
        facts = _Facts(self.record, self.stage.steps, self.trainer._lineage)
        try:
            checkpoints.write(self.path, state, msgspec.json.encode(facts).decode())
            self.saved = self.record.steps
        except UnwritableCheckpoint as problem:
            if not self.write_failed:
                self.trainer.warn(
                    f"{self.path}: the checkpoint could not be written ({problem}); the work goes on, "
                    f"but only {self._saved_so_far()}"
                )
            self.write_failed = True

    def _stop(self) -> None:
        self._save()
        raise Interrupted(
            f"stopped after step {self.record.steps} of {self.stage.steps} of stage {self.stage.name}; "
            f"{self._saved_so_far()}"
        )

    def _diverge(self, what: str) -> None:
        raise Diverged(f"stage {self.stage.name}, step {self.record.steps}: {what}; {self._saved_so_far()}")

    def _saved_so_far(self) -> str:
        if self.path is None or self.saved == 0:
            return "nothing of this stage is saved"
        return f"the work up to step {self.saved} is saved in {self.path}"

    def _tell(self, show: Callable[[Progress], None], losses: dict[str, float], now: float) -> None:
        done, total = self.record.steps, self.stage.steps
        seconds_a_step = (now - self.wall_start) / (done - self.first)
        progress = Progress(self.stage.name, done, total, losses, seconds_a_step * (total - done))
        show(progress)
        if self.trainer.on_progress is not None:
            self.trainer.on_progress(progress)

    def _preview(self, on_preview: Callable[[Scene], None]) -> None:
        scene = self.stage.preview()
        if scene is not None:
            on_preview(scene)


class _Pace:
    """Says when something is due that is to happen every `seconds`, or more rarely where it takes long: the work done
    inside `with pace:` is timed, and gets no more than `SHARE` of the time."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began = seconds, 0.0
        self.next = time.monotonic() + seconds

    def due(self, now: float) -> bool:
        return now >= self.next

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *exception: object) -> None:
        ended = time.monotonic()
        self.next = ended + max(self.seconds, (ended - self.began) / SHARE if self.seconds else 0.0)


@contextmanager
def _signals_noted(trainer: Trainer) -> Iterator[None]:
    """For as long as it is entered, the first SIGINT or SIGTERM asks the trainer to stop after the step; the second
    stops at once. Signals reach the main thread alone: in another one nothing is installed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: object) -> None:
        if trainer._stop_requested:
            raise KeyboardInterrupt
        trainer.request_stop()
        # not sys.stderr, which the interrupted code may itself be inside of
        with suppress(OSError):
            os.write(2, b"\nstopping after this step; once more stops at once\n")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _peak_memory_mb() -> float:
    """The most memory that this process has held, in MB."""
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
