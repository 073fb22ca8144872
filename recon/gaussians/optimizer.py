"""Adam on those Gaussians that a step's picture shows.

The others keep parameters and moments as they are: without a gradient they have nothing to learn, and in the plain
algorithm their moments would fade and carry them on. It also costs only what is in view.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numba import njit

from render.splats import Splats
from render.splats.threads import share

F = np.float32
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-15

Rates = dict[str, float]  # of means, log_scales, quaternions, opacity_logits, sh_dc, sh_rest, and of exposure


class VisibleAdam:
    """The moments of all parameters, and the step."""

    def __init__(self, splats: Splats) -> None:
        self.first = Splats(*(torch.zeros_like(values, requires_grad=False) for values in splats))
        self.second = Splats(*(torch.zeros_like(values, requires_grad=False) for values in splats))

    @torch.no_grad()
    def step(self, splats: Splats, visible: Bool[torch.Tensor, "n"], rates: Rates, i: int, sh_degree: int) -> None:
        """Moves the parameters against their gradients, in place; `i` counts the steps from 0. Harmonics above the
        degree are left alone."""
        correction = math.sqrt(1 - BETA2 ** (i + 1)) / (1 - BETA1 ** (i + 1))
        if not splats.means.is_cpu:
            self._step_on_cuda(splats, visible, {name: correction * rate for name, rate in rates.items()})
            return
        for name, values, first, second in zip(Splats._fields, splats, self.first, self.second, strict=True):
            assert values.grad is not None
            parts = _Parts(*(part.detach().view(len(part), -1) for part in (values, values.grad, first, second)))
            if name == "sh":
                _update(parts, visible, slice(0, 3), correction * rates["sh_dc"])
                _update(parts, visible, slice(3, 3 * (sh_degree + 1) ** 2), correction * rates["sh_rest"])
            else:
                _update(parts, visible, slice(0, parts.values.shape[1]), correction * rates[name])

    def _step_on_cuda(self, splats: Splats, visible: Bool[torch.Tensor, "n"], rates: Rates) -> None:
        """By gsplat's kernel. It has one rate for a row of all harmonics; the first goes what it lacks by itself, and
        those above the degree, which never had a gradient, stay where they are."""
        from gsplat.cuda._wrapper import adam

        for name, values, first, second in zip(Splats._fields, splats, self.first, self.second, strict=True):
            assert values.grad is not None
            rate = rates["sh_rest" if name == "sh" else name]
            adam(values, values.grad, first, second, visible, rate, BETA1, BETA2, EPSILON)
        lacking = rates["sh_dc"] - rates["sh_rest"]
        stride = lacking * self.first.sh[:, 0] / (self.second.sh[:, 0].sqrt() + EPSILON)
        splats.sh[:, 0] -= visible[:, None] * stride

    def rearrange(self, name: str, rows: Int[torch.Tensor, "m"], fresh: Bool[torch.Tensor, "m"]) -> None:
        """Takes the moments of one parameter from these rows, and forgets those of the fresh ones."""
        for moments in ("first", "second"):
            taken = getattr(getattr(self, moments), name)[rows]
            taken[fresh] = 0
            setattr(self, moments, getattr(self, moments)._replace(**{name: taken}))


class _Parts(NamedTuple):
    """One parameter's values, their gradient and its two moments, a row per Gaussian."""

    values: Float[torch.Tensor, "n c"]
    gradient: Float[torch.Tensor, "n c"]
    first: Float[torch.Tensor, "n c"]
    second: Float[torch.Tensor, "n c"]


def _update(parts: _Parts, visible: Bool[torch.Tensor, "n"], columns: slice, rate: float) -> None:
    values, gradient, first, second = (part.numpy() for part in parts)
    moved = columns.start, columns.stop
    share(_update_rows, len(values), values, gradient, first, second, visible.numpy(), *moved, F(rate))


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _update_rows(begin, end, values, gradient, first, second, visible, start, stop, rate):
    """Of Gaussians begin to end - 1, the columns start to stop - 1."""
    b1, b2, epsilon = F(BETA1), F(BETA2), F(EPSILON)
    for i in range(begin, end):
        if not visible[i]:
            continue
        for k in range(start, stop):
            g = gradient[i, k]
            m = b1 * first[i, k] + (F(1) - b1) * g
            v = b2 * second[i, k] + (F(1) - b2) * g * g
            first[i, k], second[i, k] = m, v
            values[i, k] -= rate * m / (math.sqrt(v) + epsilon)
