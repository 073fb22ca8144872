"""The training of the field as a stage: Adam, a rate that rises and falls, batches by the plan.

Every random choice is drawn from a generator seeded by (seed, what for, epoch): there is no random state to save, and
an interrupted run draws what an unbroken one draws. An epoch draws each query once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float64

from recon.methods.levelset_udf.field import WIDTH, DistanceField
from recon.methods.levelset_udf.losses import Weights, backpropagate
from recon.methods.levelset_udf.plan import Plan
from recon.methods.levelset_udf.queries import draw_queries
from recon.networks import load_training_state, training_state
from recon.scene import Scene
from recon.training import HISTORY

LOSSES = ("pull", "projection", "surface", "orthogonal")


class DistanceStage:
    """Trains a `DistanceField` on a cloud whose longest side is 1; the result is the field."""

    name = "distance"

    def __init__(
        self,
        cloud: Float64[np.ndarray, "n 3"],
        plan: Plan,
        weights: Weights,
        spread: float,
        seed: int,
        device: str,
        preview: Callable[[DistanceField], Scene | None] = lambda field: None,
        width: int = WIDTH,
    ) -> None:
        self.plan, self.weights, self.spread, self.seed, self.device = plan, weights, spread, seed, device
        self.steps = plan.iterations
        self.field = DistanceField(seed, width).to(device)
        self.optimizer = torch.optim.Adam(self.field.parameters(), plan.rate(0), fused=True)
        self._cloud, self._preview = cloud, preview
        self._points = torch.from_numpy(cloud.astype(np.float32)).to(device)
        self._queries = self._nearest = self._order = self._chosen = torch.empty(0)
        self._epoch = -1
        self._read_every = math.ceil(plan.iterations / HISTORY) if device.startswith("cuda") else 1
        self._losses: dict[str, float] = {}

    def step(self, i: int) -> dict[str, float]:
        if not len(self._queries):
            self._draw_queries()
        epoch, batch = divmod(i, self._batches)
        if epoch != self._epoch:
            self._enter_epoch(epoch)
        drawn = self._order[batch * self.plan.batch : (batch + 1) * self.plan.batch]
        on_surface = self._points
        if self.plan.on_surface < len(self._points):
            on_surface = self._points[self._chosen[batch]]
        targets = self._points[self._nearest[drawn]]
        losses = backpropagate(self.field, self._queries[drawn], targets, on_surface, self.weights)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(i)
        self.optimizer.step()
        if i % self._read_every == 0 or i + 1 == self.steps:
            self._losses = dict(zip(LOSSES, losses.tolist(), strict=True))  # waits for the device
        return self._losses

    @property
    def _batches(self) -> int:
        """Of an epoch."""
        return max(1, len(self._queries) // self.plan.batch)

    def _draw_queries(self) -> None:
        drawn = draw_queries(self._cloud, self.spread, np.random.default_rng((self.seed, 0)))
        self._queries = torch.from_numpy(drawn.points).to(self.device)
        self._nearest = torch.from_numpy(drawn.nearest).to(self.device)

    def _enter_epoch(self, epoch: int) -> None:
        """Shuffles the queries, and draws the points of the cloud that go with each batch."""
        rng = np.random.default_rng((self.seed, 1, epoch))
        self._order = torch.from_numpy(rng.permutation(len(self._queries))).to(self.device)
        if self.plan.on_surface < len(self._points):
            chosen = rng.integers(0, len(self._points), (self._batches, self.plan.on_surface))
            self._chosen = torch.from_numpy(chosen).to(self.device)
        self._epoch = epoch

    def state_dict(self) -> dict[str, np.ndarray]:
        return training_state(self.field, self.optimizer)

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        load_training_state(self.field, self.optimizer, state)

    def preview(self) -> Scene | None:
        return self._preview(self.field)

    def result(self) -> DistanceField:
        return self.field
