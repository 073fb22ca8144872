"""How much is trained: the published recipe, or a share of it.

Published: 40,000 iterations (100,000 for a scene), each on 5,000 queries and on all points of the cloud. A budget b < 1
keeps the iterations and gives each b 5,000 queries and half as many points of the cloud; where that would be fewer than
200 queries it gives 200, in fewer iterations. In 60 CPU seconds on the T-shirt 1,900 iterations of 200 queries come to
1.7e-3 of the truth on the average (the longest side being 2), 440 of 1,000 to 2.7e-3.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
import torch

from recon.methods.levelset_udf.field import DistanceField
from recon.methods.levelset_udf.losses import OBJECT, backpropagate

ITERATIONS, ITERATIONS_OF_SCENE = 40_000, 100_000
BATCH = 5000
SMALLEST_BATCH = 200
RATE = 1e-3
WARM_UP = 0.025  # of the iterations
PASSES_ON_CPU = 2e7  # six to ten minutes of one core
SMALLEST_BUDGET = 1e-5


class Plan(NamedTuple):
    """Iterations, and how many queries and points of the cloud each is taught."""

    iterations: int
    batch: int
    on_surface: int

    @classmethod
    def of(cls, points: int, budget: float, scene: bool) -> Plan:
        """The share `budget` of the published training on a cloud of `points` points."""
        iterations = ITERATIONS_OF_SCENE if scene else ITERATIONS
        if budget == 1:
            return cls(iterations, BATCH, points)
        batch = max(SMALLEST_BATCH, round(budget * BATCH))
        return cls(max(1, round(budget * iterations * BATCH / batch)), batch, min(points, batch // 2))

    @property
    def passes(self) -> float:
        """What the training costs, in passes of one point through the network: four for a query, four for where it is
        pulled to, three for a point of the cloud."""
        return float(self.iterations) * (8 * self.batch + 3 * self.on_surface)

    def rate(self, i: int) -> float:
        """The learning rate of iteration i: a straight rise, then half a cosine down to 0."""
        rise = max(1.0, WARM_UP * self.iterations)
        if i < rise:
            return RATE * (i + 1) / rise
        return RATE * (1 + math.cos(math.pi * (i - rise) / (self.iterations - rise))) / 2


def default_budget(points: int, scene: bool, device: str) -> float:
    """All of the published training on CUDA, what takes about ten minutes on a CPU."""
    return 1.0 if device.startswith("cuda") else largest_budget(points, scene, PASSES_ON_CPU)


def largest_budget(points: int, scene: bool, passes: float) -> float:
    """The largest budget that costs at most so many passes."""
    budget = 1.0
    while Plan.of(points, budget, scene).passes > passes and budget > SMALLEST_BUDGET:
        budget *= 0.97
    return budget


def seconds_a_pass(device: str) -> float:
    """What one pass takes on this machine: the median of five steps, of a full batch on CUDA."""
    field = DistanceField(0).to(device)
    plan = Plan(1, *((BATCH, BATCH) if device.startswith("cuda") else (500, 250)))
    queries = torch.rand(plan.batch, 3, device=device) - 0.5
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        backpropagate(field, queries, queries + 0.01, queries[: plan.on_surface], OBJECT).cpu()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:])) / plan.passes
