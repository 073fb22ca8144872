"""What a waiting person sees of a stage: a bar with the remaining time on a terminal, else a line now and then.

Everything goes to the error stream; standard output belongs to results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LINE_SECONDS = 30.0


@dataclass(frozen=True)
class Progress:
    """How far a stage is: `step` steps of `steps` are done; `seconds_left` is None until it can be told."""

    stage: str
    step: int
    steps: int
    losses: dict[str, float]
    seconds_left: float | None

    def __str__(self) -> str:
        losses = "".join(f", {name} {value:.4g}" for name, value in self.losses.items())
        left = "" if self.seconds_left is None else f", about {spoken(self.seconds_left)} left"
        return f"{self.stage}: step {self.step} of {self.steps}{losses}{left}"


def spoken(seconds: float) -> str:
    """A duration as one would say it: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def shown(stage: str, steps: int) -> Iterator[Callable[[Progress], None]]:
    """Gives the function that shows a stage's progress on the error stream, for as long as the stage runs."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rest]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5) as bar:
        task = bar.add_task(stage, total=steps, rest="")

        def show(progress: Progress) -> None:
            losses = " ".join(f"{name} {value:.4g}" for name, value in progress.losses.items())
            left = "" if progress.seconds_left is None else f" {spoken(progress.seconds_left)} left"
            bar.update(task, completed=progress.step, rest=losses + left)

        yield show


def _lines() -> Callable[[Progress], None]:
    spoken_at = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal spoken_at
        if time.monotonic() - spoken_at >= LINE_SECONDS:
            spoken_at = time.monotonic()
            sys.stderr.write(f"{progress}\n")

    return show
