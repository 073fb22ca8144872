"""The training of the field as a stage: Adam, a falling learning rate, batches by the plan.

Every random choice is drawn from a generator seeded by (seed, level, epoch): there is no random state to save, and an
interrupted run draws what an unbroken one draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recon.inputs import CrossSections
from recon.methods.orex.contour_samples import ContourSampler, Samples
from recon.methods.orex.field import RefinementField, losses
from recon.methods.orex.plan import Plan
from recon.networks import load_training_state, training_state
from recon.scene import Scene

LEARNING_RATE = 1e-2
WEIGHT_DECAY = 1e-3


class OrexStage:
    """Trains a `RefinementField` on normalised sections; the result is the field."""

    name = "refinement"

    def __init__(
        self,
        sections: CrossSections,
        plan: Plan,
        seed: int,
        device: str,
        preview: Callable[[RefinementField], Scene | None] = lambda field: None,
    ) -> None:
        self.plan, self.seed, self.device = plan, seed, device
        self.steps = plan.steps
        self.field = RefinementField(len(sections.labels), sections.partition, seed).to(device)
        self.optimizer = torch.optim.Adam(self.field.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
        self._preview = preview
        self._sampler = ContourSampler(sections)
        self._sets: dict[int, Samples] = {}
        self._level = self._epoch = -1
        self._points = self._halves = self._order = torch.empty(0)

    def step(self, i: int) -> dict[str, float]:
        level, epoch, batch = self.plan.locate(i)
        if level != self._level:
            self._enter_level(level)
        if epoch != self._epoch:
            self._enter_epoch(level, epoch)
        chosen = self._order[batch * self.plan.batch : (batch + 1) * self.plan.batch]
        likelihood, steepness = losses(self.field, self._points[chosen], self._halves[chosen])
        self.optimizer.zero_grad()
        (likelihood + steepness).backward()
        self.optimizer.step()
        return {"likelihood": likelihood.item(), "steepness": steepness.item()}

    def _enter_level(self, level: int) -> None:
        """Draws the level's samples, and those of the levels before it that are not at hand (after a resume)."""
        self._sets = {k: self._sets.get(k) or self._sample(k) for k in self.plan.united(level)}
        samples = Samples.joined(list(self._sets.values()))
        self._points = torch.from_numpy(samples.points).to(self.device)
        self._halves = torch.from_numpy(samples.halves).to(self.device)
        self._level = level

    def _sample(self, level: int) -> Samples:
        return self._sampler.draw(self.plan.levels[level], np.random.default_rng((self.seed, level)))

    def _enter_epoch(self, level: int, epoch: int) -> None:
        """Shuffles the points of the epoch, and lowers the learning rate every tenth."""
        rng = np.random.default_rng((self.seed, len(self.plan.levels), epoch))
        order = rng.choice(self.plan.set_size(level), self.plan.epoch_size(level), replace=False)
        self._order = torch.from_numpy(order).to(self.device)
        self._epoch = epoch
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.9 ** (epoch // 10)

    def state_dict(self) -> dict[str, np.ndarray]:
        return training_state(self.field, self.optimizer)

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        load_training_state(self.field, self.optimizer, state)

    def preview(self) -> Scene | None:
        return self._preview(self.field)

    def result(self) -> RefinementField:
        return self.field
