"""How much is trained, and in what order.

The published recipe trains 650 epochs over six levels, on batches of 2^14 points; a level's set unites its own samples
and those of the two levels before. A budget b < 1 keeps the epochs, the learning rates and the number of steps, and
gives each step b 2^14 points, each epoch a random share b of its points, anew.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from recon.inputs import CrossSections
from recon.methods.orex.contour_samples import LEVELS, Level, count_samples
from recon.methods.orex.field import RefinementField, losses

BATCH = 2**14
SMALLEST_BATCH = 256  # a smaller one costs hardly less
UNITED_LEVELS = 3
SAMPLES_ON_CPU = 8e6  # about ten minutes of one core
SECONDS_A_SAMPLE = 600 / SAMPLES_ON_CPU
SMALLEST_BUDGET = 1e-4
LATER_STEPS = 1.6  # a point of an average step costs this much more than with an untrained field, nowhere steep
EVALUATION = 0.25  # of the field at a point, in steps of a point


@dataclass(frozen=True)
class Plan:
    """Which step trains on what: levels of `counts` samples under a budget."""

    counts: tuple[int, ...]
    budget: float
    levels: tuple[Level, ...] = LEVELS

    @classmethod
    def of(cls, sections: CrossSections, budget: float, levels: tuple[Level, ...] = LEVELS) -> Plan:
        return cls(tuple(count_samples(sections, level) for level in levels), budget, levels)

    @property
    def batch(self) -> int:
        return max(SMALLEST_BATCH, round(self.budget * BATCH))

    def united(self, level: int) -> range:
        """The levels whose samples the level trains on."""
        return range(max(0, level + 1 - UNITED_LEVELS), level + 1)

    def set_size(self, level: int) -> int:
        """Points that the level may train on."""
        return sum(self.counts[k] for k in self.united(level))

    def epoch_size(self, level: int) -> int:
        """Points that an epoch of the level does train on: one batch at least."""
        return min(self.set_size(level), max(self.batch, math.ceil(self.budget * self.set_size(level))))

    def steps_per_epoch(self, level: int) -> int:
        return -(-self.epoch_size(level) // self.batch)

    @property
    def steps(self) -> int:
        return sum(level.epochs * self.steps_per_epoch(k) for k, level in enumerate(self.levels))

    @property
    def samples(self) -> int:
        """Points that all steps together train on."""
        return sum(level.epochs * self.epoch_size(k) for k, level in enumerate(self.levels))

    def locate(self, step: int) -> tuple[int, int, int]:
        """The level, the epoch counted from the very first, and the batch in it, of a step."""
        epoch = 0
        for k, level in enumerate(self.levels):
            per_epoch = self.steps_per_epoch(k)
            if step < level.epochs * per_epoch:
                return k, epoch + step // per_epoch, step % per_epoch
            step -= level.epochs * per_epoch
            epoch += level.epochs
        raise IndexError(f"the plan has {self.steps} steps")


def default_budget(sections: CrossSections, device: str) -> float:
    """All of the published training on CUDA, `SAMPLES_ON_CPU` at most on a CPU."""
    return 1.0 if device.startswith("cuda") else min(1.0, SAMPLES_ON_CPU / Plan.of(sections, 1.0).samples)


def budget_for(seconds: float, sections: CrossSections, nodes: int, device: str) -> float:
    """The largest budget whose training fits in the time, with `nodes` evaluations of the field after it.

    A step is measured to cost a share of its own and a share for each of its points.
    """
    small, large = SMALLEST_BATCH, 8 * SMALLEST_BATCH
    of_small, of_large = (_seconds_a_step(len(sections.labels), batch, device) for batch in (small, large))
    of_point = max(of_large - of_small, 0) / (large - small)
    of_step = max(of_small - small * of_point, 0)
    seconds -= EVALUATION * of_point * nodes
    budget, plan = 1.0, Plan.of(sections, 1.0)
    while plan.steps * of_step + LATER_STEPS * of_point * plan.samples > seconds and budget > SMALLEST_BUDGET:
        budget *= 0.97
        plan = Plan.of(sections, budget)
    return budget


def _seconds_a_step(labels: int, batch: int, device: str) -> float:
    """The median of five steps of an untrained field, without the optimiser's."""
    field = RefinementField(labels, exclusive=True, seed=0).to(device)
    points = 2 * torch.rand(batch, 3, device=device) - 1
    halves = torch.zeros(batch, labels, dtype=torch.uint8, device=device)
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        likelihood, steepness = losses(field, points, halves)
        (likelihood + steepness).backward()
        likelihood.item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return sorted(seconds[1:])[2]
