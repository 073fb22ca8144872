"""The training of Gaussians on views as a stage: one picture a step.

Every random choice is drawn from a generator seeded by (seed, what for, step): there is no random state to save, and an
interrupted run draws what an unbroken one draws.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec
import numpy as np
import torch
from jaxtyping import Float32

from recon.gaussians.density import ByError, ByRelocation, Density, morton_order
from recon.gaussians.exposure import Exposures
from recon.gaussians.model import Gaussians
from recon.gaussians.optimizer import VisibleAdam
from recon.gaussians.photometric import photometric_loss
from recon.gaussians.schedule import Schedule
from recon.gaussians.targets import Targets
from recon.gaussians.tensors import to_device, to_gaussians, to_splats
from recon.scene import Frame, Scene
from recon.training import HISTORY
from render.splats import Rendering, Splats, rasterize

ORDER, BACKGROUND, GROWTH, NOISE, LOOKS = range(5)  # what random numbers are for

LOOKED_AT = 4  # photos, to learn where the Gaussians are too coarse

Background = Literal["white", "black", "random"]


class Losses(msgspec.Struct, frozen=True):
    """The weights of the loss: (1 - ssim) L1 + ssim (1 - SSIM) + opacity mean(o) + scale mean(s), the means over the
    opacities and the standard deviations of the Gaussians in view."""

    ssim: float = 0.2
    opacity: float = 0.0
    scale: float = 0.0


class _Compared(NamedTuple):
    """A photo's picture, its colours as the photo's exposure shows them, and those that it should have."""

    rendering: Rendering
    colors: Float32[torch.Tensor, "h w 3"]
    wanted: Float32[torch.Tensor, "h w 3"]


class GaussianStage:
    """Trains Gaussians on targets; the result is the Gaussians, in the targets' coordinates."""

    name = "gaussians"

    def __init__(
        self,
        targets: Targets,
        gaussians: Gaussians,
        schedule: Schedule,
        losses: Losses,
        density: Literal["error", "mcmc"],
        background: Background,
        exposure: bool,
        frame: Frame,
        seed: int,
        device: str,
    ) -> None:
        self.targets, self.schedule, self.losses, self.frame = targets, schedule, losses, frame
        self.steps, self.seed, self.device = schedule.steps, seed, device
        self.antialiased = gaussians.antialiased
        self.splats = to_splats(gaussians, device, trainable=True)
        self.optimizer = VisibleAdam(self.splats)
        self.density: Density = ByError() if density == "error" else ByRelocation()
        self.exposures = Exposures(len(targets), device) if exposure else None
        self.background = background
        self._read_every = max(1, self.steps // HISTORY) if device.startswith("cuda") else 1
        self._loss = 0.0

    def step(self, i: int) -> dict[str, float]:
        k = self._view(i)
        rendering, colors, wanted = self._compared(i, k)
        photometric = photometric_loss(colors, wanted, self.losses.ssim)
        (photometric + self._penalties(rendering)).backward()
        self._learn(i, k, rendering)
        if i % self._read_every == 0 or i + 1 == self.steps:
            self._loss = float(photometric.detach())
        return {"photometric": self._loss}

    @property
    def ground(self) -> tuple[float, float, float]:
        """What lies behind the Gaussians in pictures that are compared with photos; those with alpha are on white."""
        return (0.0, 0.0, 0.0) if self.background == "black" and not self.targets.have_alpha else (1.0, 1.0, 1.0)

    def _view(self, i: int) -> int:
        """The views in a new random order each epoch."""
        epoch, position = divmod(i, len(self.targets))
        return int(np.random.default_rng((self.seed, ORDER, epoch)).permutation(len(self.targets))[position])

    def _background(self, i: int) -> Float32[torch.Tensor, "3"]:
        if self.background == "random":
            color = np.random.default_rng((self.seed, BACKGROUND, i)).random(3)
        else:
            color = np.full(3, float(self.background == "white"))
        return to_device(color.astype(np.float32), self.device)

    def _compared(self, i: int, k: int, geometry: bool = False) -> _Compared:
        """What the Gaussians make of photo k at step i, and what it should be."""
        target = self.targets.at(k, self.schedule.factor(i, len(self.splats.means)))
        height, width, _ = target.image.shape
        background = self._background(i)
        rendering = rasterize(
            self.splats,
            target.world_to_camera,
            target.intrinsics,
            width,
            height,
            sh_degree=self.schedule.degree(i),
            background=background,
            antialiased=self.antialiased,
            geometry=geometry,
        )
        colors = rendering.color if self.exposures is None else self.exposures.applied(k, rendering.color)
        wanted = target.over(background)
        if target.mask is not None:  # outside, the picture is what it is
            wanted = torch.where(target.mask[..., None], wanted, colors.detach())
        return _Compared(rendering, colors, wanted)

    def _errors(self, i: int) -> Float32[torch.Tensor, "n"]:
        """How wrong some photos, drawn at random, are at each Gaussian: the absolute errors of the pixels at whose
        median depth it is, summed, and the mean over those photos that show it."""
        errors = self.splats.means.new_zeros(len(self.splats.means))
        seen = torch.zeros_like(errors)
        order = np.random.default_rng((self.seed, LOOKS, i)).permutation(len(self.targets))
        for k in order[:LOOKED_AT]:
            rendering, colors, wanted = self._compared(i, int(k), geometry=True)
            assert rendering.ids is not None
            found = rendering.ids >= 0
            errors.index_add_(0, rendering.ids[found].long(), (colors - wanted).abs().sum(-1)[found])
            seen += rendering.visible
        return errors / seen.clamp(min=1)

    def _penalties(self, rendering: Rendering) -> torch.Tensor | float:
        """On opacities and sizes of what is in view."""
        penalty = 0.0
        share = rendering.visible / rendering.visible.sum().clamp(min=1)
        if self.losses.opacity:
            penalty = penalty + self.losses.opacity * (share * torch.sigmoid(self.splats.opacity_logits)).sum()
        if self.losses.scale:
            penalty = penalty + self.losses.scale * (share * self.splats.log_scales.exp().mean(1)).sum()
        return penalty

    def _learn(self, i: int, k: int, rendering: Rendering) -> None:
        """What follows from a step's gradients."""
        schedule = self.schedule
        rates = schedule.rates(i)
        self.optimizer.step(self.splats, rendering.visible, rates, i, schedule.degree(i))
        for values in self.splats:
            values.grad = None
        if self.exposures is not None:
            self.exposures.step(k, rates["exposure"])
        if schedule.grows(i):
            self._change(i)
        self.density.disturb(self._values(), rates["means"], np.random.default_rng((self.seed, NOISE, i)))

    @torch.no_grad()
    def _change(self, i: int) -> None:
        """Removes and adds Gaussians, and sorts them so that neighbours in space lie side by side in memory."""
        wanted = self.schedule.wanted(i, len(self.splats.means))
        rng = np.random.default_rng((self.seed, GROWTH, i))
        splats, rows = self.density.change(self._values(), lambda: self._errors(i), wanted, rng)
        order = morton_order(splats.means)
        for name in Splats._fields:
            self.optimizer.rearrange(name, rows.source[order], rows.fresh[order])
        self.splats = Splats(*(values[order].requires_grad_() for values in splats))

    def _values(self) -> Splats:
        """The parameters without their part in any gradient."""
        return Splats(*(values.detach() for values in self.splats))

    def state_dict(self) -> dict[str, np.ndarray]:
        parts = {
            "value": self._values()._asdict(),
            "first": self.optimizer.first._asdict(),
            "second": self.optimizer.second._asdict(),
            "exposure": {} if self.exposures is None else self.exposures.state(),
        }
        return {
            f"{part}.{name}": tensor.cpu().numpy()
            for part, tensors in parts.items()
            for name, tensor in tensors.items()
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        def part(name: str) -> dict[str, torch.Tensor]:
            start = name + "."
            chosen = {key: value for key, value in state.items() if key.startswith(start)}
            return {key[len(start) :]: torch.tensor(value, device=self.device) for key, value in chosen.items()}

        self.splats = Splats(**{name: values.requires_grad_() for name, values in part("value").items()})
        self.optimizer.first, self.optimizer.second = Splats(**part("first")), Splats(**part("second"))
        if self.exposures is not None:
            self.exposures.load(part("exposure"))

    def preview(self) -> Scene | None:
        return Scene(gaussians=self.result(), frame=self.frame)

    def result(self) -> Gaussians:
        return to_gaussians(self.splats, self.antialiased)
