"""What differs from photo to photo in brightness and white balance: an affine map of colours for each.

A photo k is compared with A_k c + b_k, c being the colours of the scene. The mean of all maps is held at the identity:
otherwise the scene could darken as they brighten, and views that were held out, which have no map, would look wrong.
"""

from __future__ import annotations

import torch
from jaxtyping import Float32


class Exposures:
    """The maps [A | b] of all photos, and their training."""

    def __init__(self, count: int, device: str) -> None:
        self.identity = torch.eye(3, 4, device=device)
        self.maps = self.identity.repeat(count, 1, 1)
        self.moments = torch.zeros(count, 2, 3, 4, device=device)
        self.seen = torch.zeros(count, dtype=torch.int64)
        self._map = self.identity

    def applied(self, k: int, colors: Float32[torch.Tensor, "h w 3"]) -> Float32[torch.Tensor, "h w 3"]:
        """The colours as photo k shows them."""
        self._map = self.maps[k].clone().requires_grad_()
        return torch.addmm(self._map[:, 3], colors.view(-1, 3), self._map[:, :3].T).view_as(colors)

    def step(self, k: int, rate: float) -> None:
        """One step of Adam for the map that was applied last, once its gradient is known."""
        assert self._map.grad is not None
        gradient = self._map.grad
        self.seen[k] += 1
        first, second = self.moments[k]
        first.lerp_(gradient, 0.1)
        second.lerp_(gradient**2, 0.001)
        count = int(self.seen[k])
        mean, spread = first / (1 - 0.9**count), second / (1 - 0.999**count)
        self.maps[k] -= rate * mean / (spread.sqrt() + 1e-15)
        self.maps += self.identity - self.maps.mean(0)

    def state(self) -> dict[str, torch.Tensor]:
        """What is kept from step to step."""
        return {"maps": self.maps, "moments": self.moments, "seen": self.seen}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Takes `state` back."""
        self.maps, self.moments, self.seen = state["maps"], state["moments"], state["seen"].cpu()
