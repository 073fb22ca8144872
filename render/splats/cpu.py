"""The rasteriser on the CPU: the kernels as one differentiable torch function."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch

from render.splats import (
    Rendering,
    Splats,
    blending,
    blending_backward,
    projection,
    projection_backward,
    records,
    tiles,
)
from render.splats.compilation import exclusive

TILE = records.TILE
FEATURES = blending.CHANNELS_AT_MOST


def rasterize_on_cpu(
    splats: Splats,
    world_to_camera: torch.Tensor,
    intrinsics: torch.Tensor,
    width: int,
    height: int,
    sh_degree: int,
    background: torch.Tensor,
    antialiased: bool,
    geometry: bool,
    features: torch.Tensor | None,
    screen_offsets: torch.Tensor,
) -> Rendering:
    """`render.splats.rasterize` for tensors of the CPU."""
    channels = splats.means.new_zeros(len(splats.means), 0) if features is None else features
    position = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    image, alpha, ids, blended, hits = _Rasterize.apply(
        *splats, channels, screen_offsets, world_to_camera, position, intrinsics, background,
        width, height, sh_degree, antialiased, geometry,
    )  # fmt: skip
    depth = median_depth = normal = None
    if geometry:
        depth, normal = image[..., 3] / alpha.clamp_min(1e-10), image[..., 4:]
        z = splats.means @ world_to_camera[2, :3] + world_to_camera[2, 3]
        found = z.index_select(0, ids.flatten().clamp_min(0)) if len(z) else z.new_zeros(ids.numel())
        median_depth = torch.where(ids >= 0, found.view_as(ids), 0)
    return Rendering(
        image[..., :3], alpha, depth, median_depth, normal, ids if geometry else None,
        None if features is None else blended, hits > 0, screen_offsets,
    )  # fmt: skip


class _Blended(NamedTuple):
    """What the kernels make of one picture: `image` (h, w, 3 or 7) is colour and, with geometry, the sums over weights
    of depth and normal; `features` (h, w, c); `ids` (h, w), -1 where T does not cross one half."""

    image: torch.Tensor
    alpha: torch.Tensor
    ids: torch.Tensor
    features: torch.Tensor
    hits: torch.Tensor


class _Rasterize(torch.autograd.Function):
    """Colour, alpha, geometry and features of one picture, and their gradients."""

    @staticmethod
    def forward(
        ctx, means, log_scales, quaternions, opacity_logits, sh, features, screen_offsets,
        view, position, intrinsics, background, width, height, degree, antialiased, geometry,
    ):  # fmt: skip
        splats = [_array(tensor) for tensor in (means, log_scales, quaternions, opacity_logits, sh)]
        camera = (
            _array(view),
            _array(position),
            projection.lens_of(_array(intrinsics), width, height),
        )
        with exclusive:
            picture = _Picture(splats, camera, degree, antialiased, width, height)
            channels = 7 if geometry else 3
            behind = np.zeros(channels, np.float32)
            behind[:3] = _array(background)
            image, alpha, ids = picture.blend(picture.records, channels, behind)
            blended = np.empty((height, width, features.shape[1]), np.float32)
            values = _chunks(_array(features))
            for chunk, first in zip(values, range(0, features.shape[1], FEATURES), strict=True):
                part = picture.blend(chunk, FEATURES, np.zeros(FEATURES, np.float32))[0]
                blended[..., first : first + FEATURES] = part[..., : features.shape[1] - first]
        ctx.picture, ctx.image, ctx.alpha, ctx.values, ctx.blended = (
            picture,
            image,
            alpha,
            values,
            blended,
        )
        outputs = _Blended(*(torch.from_numpy(array) for array in (image, alpha, ids, blended, picture.hits)))
        ctx.mark_non_differentiable(outputs.ids, outputs.hits)
        return tuple(outputs)

    @staticmethod
    def backward(ctx, to_image, to_alpha, _ids, to_features, _hits):  # pyright: ignore[reportIncompatibleMethodOverride]
        picture = ctx.picture
        to_image, to_alpha, to_features = (_array(tensor) for tensor in (to_image, to_alpha, to_features))
        with exclusive:
            gradients = picture.blend_backward(picture.records, ctx.image, ctx.alpha, to_image, to_alpha)
            to_values = np.empty((len(picture.hits), to_features.shape[2]), np.float32)
            nothing = np.zeros_like(to_alpha)
            for chunk, first in zip(ctx.values, range(0, to_features.shape[2], FEATURES), strict=True):
                here = slice(first, first + FEATURES)
                image, to_part = (
                    _padded(ctx.blended[..., here]),
                    _padded(to_features[..., here]),
                )
                part = picture.blend_backward(chunk, image, ctx.alpha, to_part, nothing)
                gradients[:, : records.MOMENTS] += part[:, : records.MOMENTS]
                to_values[:, here] = part[:, records.MOMENTS :][:, : to_features.shape[2] - first]
            to_splats, to_view, to_position, to_intrinsics = picture.project_backward(gradients)
        to_background = np.einsum("hwc,hw->c", to_image[..., :3], 1 - ctx.alpha)
        to_offsets = gradients[:, :2].copy()
        arrays = (
            *to_splats,
            to_values,
            to_offsets,
            to_view,
            to_position,
            to_intrinsics,
            to_background,
        )
        return (
            *(torch.from_numpy(array) for array in arrays),
            None,
            None,
            None,
            None,
            None,
        )


class _Picture:
    """One view of the splats: their records and the lists of the tiles, kept for the backward pass."""

    def __init__(self, splats, camera, degree: int, antialiased: bool, width: int, height: int) -> None:
        n = len(splats[0])
        self.splats, self.camera, self.degree, self.antialiased = (
            splats,
            camera,
            degree,
            antialiased,
        )
        self.size = (height, width)
        self.columns, rows = -(-width // TILE), -(-height // TILE)
        self.records = np.empty((n, records.RECORD), np.float32)
        boxes = np.empty((n, 4), np.int32)
        size = np.array([width, height], np.int64)
        self.hits = np.empty(n, np.int32)
        projection.project(*splats, degree, *camera, size, antialiased, self.records, boxes, self.hits)
        self.slots = np.zeros(n + 1, np.int64)
        np.cumsum(self.hits, out=self.slots[1:])
        visible = np.flatnonzero(self.hits).astype(np.int32)
        order = tiles.sort_by_depth(self.records[visible, records.DEPTH].view(np.uint32), visible)
        self.starts, self.pairs = tiles.fill_lists(order, boxes, self.slots, self.columns, rows)
        self.dealt, self.bounds = tiles.deal(np.diff(self.starts), numba.get_num_threads())
        self.done = np.empty(len(self.starts) - 1, np.int32)

    def blend(self, values: np.ndarray, channels: int, background: np.ndarray):
        """The channels (h, w, channels), alpha and the ids at the median; `background` is seen behind."""
        image = np.empty((*self.size, channels), np.float32)
        alpha = np.empty(self.size, np.float32)
        ids = np.full(self.size if channels == 7 else (0, 0), -1, np.int32)
        _FORWARD[channels](
            self.records, values, self.starts, self.pairs, self.dealt, self.bounds, self.columns, background, image,
            alpha, ids, self.done,
        )  # fmt: skip
        return image, alpha, ids

    def blend_backward(self, values, image, alpha, to_image, to_alpha) -> np.ndarray:
        """Gradients of the records' moments and of the values, (n, MOMENTS + channels)."""
        channels = image.shape[2]
        per_hit = np.empty((len(self.pairs), records.MOMENTS + channels), np.float32)
        dealt, bounds = tiles.deal(self.done.astype(np.int64), numba.get_num_threads())
        _BACKWARD[channels](
            self.records, values, self.starts, self.pairs, dealt, bounds, self.columns, image, alpha,
            to_image, to_alpha, self.done, per_hit,
        )  # fmt: skip
        sums = np.empty((len(self.hits), per_hit.shape[1]), np.float32)
        tiles.sum_slots(self.slots, per_hit, sums)
        return sums

    def project_backward(self, gradients: np.ndarray):
        """Gradients of the splats' arrays, of the view (4, 4), the camera's position and the intrinsics (3, 3)."""
        to_splats = [np.zeros_like(array) for array in self.splats]
        to_camera = np.zeros((-(-len(self.hits) // projection.CHUNK), projection_backward.CAMERA), np.float32)
        projection_backward.project_backward(
            *self.splats, self.degree, *self.camera, self.antialiased, self.records, self.hits, gradients,
            *to_splats, to_camera,
        )  # fmt: skip
        total = to_camera.sum(0, dtype=np.float64).astype(np.float32)
        to_view, to_intrinsics = (
            np.zeros((4, 4), np.float32),
            np.zeros((3, 3), np.float32),
        )
        to_view[:3] = total[:12].reshape(3, 4)
        to_intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]] = total[15:]
        return to_splats, to_view, total[12:15], to_intrinsics


_FORWARD = {
    3: blending.forward_color,
    7: blending.forward_geometry,
    FEATURES: blending.forward_features,
}
_BACKWARD = {
    3: blending_backward.backward_color,
    7: blending_backward.backward_geometry,
    FEATURES: blending_backward.backward_features,
}


def _array(tensor: torch.Tensor) -> np.ndarray:
    """The tensor as the kernels want it: contiguous float32."""
    return tensor.detach().to(torch.float32).contiguous().numpy()


def _padded(channels: np.ndarray) -> np.ndarray:
    """With zeros behind the last channel, to as many as the kernel blends at once."""
    missing = FEATURES - channels.shape[-1]
    return np.ascontiguousarray(np.pad(channels, [(0, 0)] * (channels.ndim - 1) + [(0, missing)]))


def _chunks(features: np.ndarray) -> list[np.ndarray]:
    return [_padded(features[:, first : first + FEATURES]) for first in range(0, features.shape[1], FEATURES)]
