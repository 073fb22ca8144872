"""The pictures that Gaussians are trained on: 8 bits a channel in memory, smaller versions made when they are needed.

A picture is made smaller by averaging blocks of pixels, so its pixels stay those of a camera with the intrinsics
divided by the factor; what is left over at the right and lower edges is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from recon.gaussians.tensors import to_device
from recon.inputs import View
from recon.scene import Frame
from render.cameras import Camera


class Target(NamedTuple):
    """A picture in some size and its camera, on the device that trains: 8-bit RGB or RGBA, and where to look at it."""

    world_to_camera: Float32[torch.Tensor, "4 4"]
    intrinsics: Float32[torch.Tensor, "3 3"]
    image: UInt8[torch.Tensor, "h w _"]
    mask: Bool[torch.Tensor, "h w"] | None

    def over(self, background: Float32[torch.Tensor, "3"]) -> Float32[torch.Tensor, "h w 3"]:
        """The picture in [0, 1], laid over a background where it has alpha."""
        image = self.image.float().mul_(1 / 255)
        colors = image[..., :3]
        return torch.lerp(background, colors, image[..., 3:]) if image.shape[2] == 4 else colors


class Targets:
    """The pictures of views, read once; with longer sides than `longest_side` pixels, they are made smaller by the
    smallest integer that helps. `cameras` are those of the pictures as they are held, in the frame's coordinates."""

    def __init__(self, views: Sequence[View], frame: Frame, longest_side: int, device: str) -> None:
        self.cameras: list[Camera] = []
        self._images: list[dict[int, np.ndarray]] = []
        self._masks: list[dict[int, np.ndarray]] = []
        self._device, into_frame = device, frame.inverse()
        for view in views:
            factor = math.ceil(max(view.camera.width, view.camera.height) / longest_side)
            self._images.append({1: averaged(view.image(), factor)})
            self._masks.append({} if view.mask is None else {1: _wholly(view.mask(), factor)})
            self.cameras.append(_shrunk(into_frame.camera_to_user(view.camera), factor))

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def have_alpha(self) -> bool:
        """Whether any of the pictures has."""
        return any(sizes[1].shape[2] == 4 for sizes in self._images)

    @property
    def are_masked(self) -> bool:
        """Whether any of the pictures is."""
        return any(self._masks)

    def at(self, k: int, factor: int) -> Target:
        """The k-th picture, 1/factor as large."""
        images, masks = self._images[k], self._masks[k]
        if factor not in images:
            images[factor] = averaged(images[1], factor)
            if masks:
                masks[factor] = _wholly(masks[1], factor)
        camera = _shrunk(self.cameras[k], factor)
        return Target(
            to_device(camera.world_to_camera.astype(np.float32), self._device),
            to_device(camera.intrinsics.astype(np.float32), self._device),
            to_device(images[factor], self._device),
            to_device(masks[factor], self._device) if masks else None,
        )


def averaged(image: UInt8[np.ndarray, "h w c"], factor: int) -> UInt8[np.ndarray, "h/f w/f c"]:
    """The means over blocks of factor by factor pixels; colours weigh as much as their alpha."""
    if factor == 1:
        return image
    blocks = _blocks(image, factor).astype(np.float32)
    if image.shape[2] == 3:
        return np.rint(blocks.mean((1, 3))).astype(np.uint8)
    alpha = blocks[..., 3:]
    colors = (blocks[..., :3] * alpha).sum((1, 3)) / np.maximum(alpha.sum((1, 3)), 1e-6)
    return np.rint(np.concatenate([colors, alpha.mean((1, 3))], -1)).astype(np.uint8)


def _wholly(mask: Bool[np.ndarray, "h w"], factor: int) -> Bool[np.ndarray, "h/f w/f"]:
    """The blocks all of whose pixels are to be looked at."""
    return mask if factor == 1 else np.asarray(_blocks(mask, factor).all((1, 3)))


def _blocks(pixels: np.ndarray, factor: int) -> np.ndarray:
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    whole = pixels[: height * factor, : width * factor]
    return whole.reshape(height, factor, width, factor, *pixels.shape[2:])


def _shrunk(camera: Camera, factor: int) -> Camera:
    intrinsics = np.diag([1 / factor, 1 / factor, 1.0]) @ camera.intrinsics
    return Camera(camera.world_to_camera, intrinsics, camera.width // factor, camera.height // factor)
