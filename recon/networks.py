"""What a network in training has become, as named arrays for a checkpoint."""

from __future__ import annotations

import numpy as np
import torch


def training_state(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """The network's parameters as `field.NAME` and the optimiser's moments as `adam.INDEX.NAME`."""
    state = {f"field.{name}": value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        state |= {f"adam.{index}.{name}": value.cpu().numpy() for name, value in moments.items()}
    return state


def load_training_state(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, np.ndarray]
) -> None:
    """Takes the arrays of `training_state` back.

    Raises:
        RuntimeError: they are those of another network.
    """
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    network.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("field.")})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
