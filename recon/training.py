"""Stages, and the Trainer that runs them.

A stage is the unit of training: it knows how to do step i, how to save what it has become and how to show it. The
Trainer alone owns the loop: progress, checkpoints, resume, the guard against NaN, Ctrl-C.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np

from recon.scene import Scene

Result = TypeVar("Result", covariant=True)


class Stage(Protocol[Result]):
    """One unit of work of `steps` steps whose whole state fits in named arrays.

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
        """What it looks like so far, cheap; None where there is nothing to show."""
        ...

    def result(self) -> Result:
        """What the stage was run for."""
        ...


class Trainer(Protocol):
    """Runs a stage to its end, from its last checkpoint if there is one, and gives its result."""

    seed: int
    device: str

    def __call__(self, stage: Stage[Result]) -> Result: ...
