"""Gaussians between numpy, in which they are kept, and torch, in which they are trained and drawn."""

from __future__ import annotations

import numpy as np
import torch

from recon.errors import UserError
from recon.gaussians.model import Gaussians
from render.splats import Splats, gsplat_kernels


def to_splats(gaussians: Gaussians, device: str = "cpu", trainable: bool = False) -> Splats:
    """The same as tensors of their own on the device, which ask for gradients if they are to be trained.

    Raises:
        UserError: on CUDA, nothing can draw them.
    """
    if device.startswith("cuda") and (fault := gsplat_kernels.fault()) is not None:
        raise UserError(f"--device cuda: {fault}; --device cpu works without")
    arrays = (getattr(gaussians, name) for name in Splats._fields)
    return Splats(*(torch.tensor(array, device=device).requires_grad_(trainable) for array in arrays))


def to_device(array: np.ndarray, device: str) -> torch.Tensor:
    """The array on the device: CUDA fetches it in its own time, where a plain copy would wait for all work before."""
    tensor = torch.from_numpy(array)
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_gaussians(splats: Splats, antialiased: bool) -> Gaussians:
    """A copy of the tensors as arrays."""
    arrays = {name: values.detach().cpu().numpy().copy() for name, values in splats._asdict().items()}
    return Gaussians(**arrays, antialiased=antialiased)
