"""When what happens in training: picture sizes, harmonics, growth and learning rates as functions of the step.

Everything hangs on the share of the steps that is done, so that a short training is a long one in small: Gaussians
learn on quarter, then half, then whole pictures (a step on a quarter costs an eighth, and the coarse shape must be
there first anyway); where they begin at random, larger pictures come as soon as there are enough Gaussians to show what
those hold. Their number grows geometrically meanwhile, for the most part on whole pictures, which alone show where the
finest texture is. Rates fall towards the end, where single pictures would only pull to and fro.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from recon.gaussians.optimizer import Rates

QUARTER, HALF = 0.2, 0.5  # shares of the steps at which pictures of that size end at the latest,
PIXELS_A_GAUSSIAN = 16  # and, where Gaussians begin at random, as soon as the next larger have no more
GROWING = (0.03, 0.8)  # the shares between which Gaussians are added
EVENTS = 60  # of growth, at most,
FEWEST_STEPS = 50  # this many steps apart at least
SH_EVERY = 0.1  # share of the steps after which harmonics gain a degree
FALLING = 0.65  # the share from which all rates fall, to LAST of what they were
LAST = 0.1
PUBLISHED_STEPS, HASTE = 30_000, 5.0  # the published rates hold for so many; fewer make larger strides, up to HASTE
MEANS_FALL = 0.01  # over the whole training, of the means alone
SMALLEST_SIDE = 64  # pixels; pictures are not made smaller than that


class Schedule(NamedTuple):
    """The plan of one training. `extent` is the unit of the means' rate (`camera_extent` in the frame's unit),
    `smallest` the shortest side of the pictures in pixels. Where Gaussians begin `at_random`, their number tells how
    fine the shape is that they have learned; known points are many from the beginning on."""

    steps: int
    gaussians: int
    sh_degree: int
    extent: float
    smallest: int
    at_random: bool = False
    progressive: bool = True

    def factor(self, i: int, count: int) -> int:
        """By how much pictures are made smaller at step i, where there are so many Gaussians."""
        done = i / self.steps
        wanted = 4 if done < QUARTER else 2 if done < HALF else 1
        # most of the random ones are where nothing is, and go at the first growth
        counts = self.at_random and i > GROWING[0] * self.steps + self.interval
        enough = PIXELS_A_GAUSSIAN * count if counts else 0
        while wanted > 1 and (
            not self.progressive
            or self.smallest < wanted * SMALLEST_SIDE
            or (2 * self.smallest / wanted) ** 2 <= enough
        ):
            wanted //= 2
        return wanted

    def degree(self, i: int) -> int:
        """Of the harmonics in use."""
        return min(self.sh_degree, int(i / self.steps / SH_EVERY))

    def grows(self, i: int) -> bool:
        """Whether Gaussians are added and removed after step i."""
        first, last = (share * self.steps for share in GROWING)
        return first <= i <= last and (i + 1) % self.interval == 0

    @property
    def interval(self) -> int:
        """Steps from one growth to the next."""
        return max(FEWEST_STEPS, int((GROWING[1] - GROWING[0]) * self.steps / EVENTS))

    def wanted(self, i: int, before: int) -> int:
        """How many there are to be after the growth of step i where there were so many before: on the geometric way
        to the budget at the end of growth."""
        left = max(0, int(GROWING[1] * self.steps - i) // self.interval)
        return int(before * (max(self.gaussians, before) / before) ** (1 / (left + 1)))

    def rates(self, i: int) -> Rates:
        """The learning rates at step i: the published ones (Kerbl et al. 2023), larger for short trainings, falling."""
        done = i / self.steps
        late = max(0.0, (done - FALLING) / (1 - FALLING))
        haste = min(HASTE, max(1.0, math.sqrt(PUBLISHED_STEPS / self.steps)))
        fall = haste * (LAST + (1 - LAST) * (1 + math.cos(math.pi * late)) / 2)
        return {
            "means": haste * 1.6e-4 * self.extent * MEANS_FALL**done,
            "log_scales": 5e-3 * fall,
            "quaternions": 1e-3 * fall,
            "opacity_logits": 5e-2 * fall,
            "sh_dc": 2.5e-3 * fall,
            "sh_rest": 2.5e-3 / 20 * fall,
            "exposure": 2e-3 * fall,
        }
