"""The pictures that Gaussians are trained on: 8 bits a channel in memory, smaller versions made when they are needed.

A picture is made smaller by averaging blocks of pixels, so its pixels stay those of a camera with the intrinsics
divided by the factor; what is left over at the right and lower edges is cut off.

A mask may say one of two things. If it cuts a thing out, there is nothing else: it becomes the picture's alpha. If it
leaves out what disturbs (people, the car, what the lens does not reach), something is there that other photos show, and
nothing is asked. The first kind leaves out the border of nearly every photo, and not the same in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from scipy.ndimage import maximum_filter

from recon.gaussians.tensors import to_device
from recon.inputs import View
from recon.scene import Frame
from render.cameras import Camera

BORDER = 0.75  # share of a photo's border that is left out around a thing,
NEARLY_ALL = 0.9  # of the photos
ALIKE = 0.9  # intersection over union of all masks, above which they are one
GRID = 64  # places along each side at which masks are compared
OUTLINE = 1 / 400  # of the longer side: no mask is drawn more exactly

Outside = Literal["auto", "empty", "unknown"]


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
    smallest integer that helps. `cameras` are those of the pictures as they are held, in the frame's coordinates.

    `outside` is what lies where masks leave pictures out, by default what `are_cutouts` finds; where it is empty, the
    pictures are `cut_out` and have alpha.
    """

    def __init__(
        self, views: Sequence[View], frame: Frame, longest_side: int, device: str, outside: Outside = "auto"
    ) -> None:
        self.cameras: list[Camera] = []
        self._images: list[dict[int, np.ndarray]] = []
        self._masks: list[dict[int, np.ndarray]] = []
        self._device, into_frame = device, frame.inverse()
        for view in views:
            factor = math.ceil(max(view.camera.width, view.camera.height) / longest_side)
            self._images.append({1: averaged(view.image(), factor)})
            self._masks.append({} if view.mask is None else {1: _wholly(view.mask(), factor)})
            self.cameras.append(_shrunk(into_frame.camera_to_user(view.camera), factor))
        shown = [masks[1] for masks in self._masks if masks]
        self.cut_out = bool(shown) and (are_cutouts(shown) if outside == "auto" else outside == "empty")
        if self.cut_out:
            for images, masks in zip(self._images, self._masks, strict=True):
                if masks:
                    images[1], masks[1] = _cut_out(images[1], masks[1])

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


def are_cutouts(masks: Sequence[Bool[np.ndarray, "h w"]]) -> bool:
    """Whether masks, true where photos are to be looked at, cut a thing out; else they leave out what disturbs."""
    borders = [np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]) for mask in masks]
    around = np.mean([1 - border.mean() >= BORDER for border in borders])
    places = [[np.linspace(0, side - 1, GRID).astype(int) for side in mask.shape] for mask in masks]
    coarse = np.stack([mask[np.ix_(*place)] for mask, place in zip(masks, places, strict=True)])
    return bool(around >= NEARLY_ALL and coarse.all(0).sum() < ALIKE * coarse.any(0).sum())


def _cut_out(
    image: UInt8[np.ndarray, "h w _"], shown: Bool[np.ndarray, "h w"]
) -> tuple[UInt8[np.ndarray, "h w 4"], Bool[np.ndarray, "h w"]]:
    """The picture, transparent where its mask leaves it out, and where that is known: not right beside the outline."""
    alpha = np.where(shown, image[..., 3] if image.shape[2] == 4 else 255, 0).astype(np.uint8)
    reach = math.ceil(OUTLINE * max(shown.shape))
    near = np.asarray(maximum_filter(shown, 2 * reach + 1), bool)
    return np.dstack([image[..., :3], alpha]), shown | ~near


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
