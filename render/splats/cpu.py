"""The rasteriser on the CPU: the kernels as one differentiable torch function."""

from __future__ import annotations

from typing import NamedTuple

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
from render.splats.threads import share

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
) -> Rendering:
    """`render.splats.rasterize` for tensors of the CPU."""
    channels = splats.means.new_zeros(len(splats.means), 0) if features is None else features
    position = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    color, alpha, summed_depth, normal, blended, ids, hits = _Rasterize.apply(
        *splats, channels, world_to_camera, position, intrinsics, background,
        width, height, sh_degree, antialiased, geometry,
    )  # fmt: skip
    depth = median_depth = None
    if geometry:
        depth = summed_depth / alpha.clamp_min(1e-10)
        z = splats.means @ world_to_camera[2, :3] + world_to_camera[2, 3]
        found = z.index_select(0, ids.flatten().clamp_min(0)) if len(z) else z.new_zeros(ids.numel())
        median_depth = torch.where(ids >= 0, found.view_as(ids), 0)
    return Rendering(
        color, alpha, depth, median_depth, normal if geometry else None, ids if geometry else None,
        None if features is None else blended, hits > 0,
    )  # fmt: skip


class _Blended(NamedTuple):
    """What the kernels make of one picture; `summed_depth` is the sum of weight and depth; it, `normal` and `ids` are
    empty without geometry."""

    color: torch.Tensor
    alpha: torch.Tensor
    summed_depth: torch.Tensor
    normal: torch.Tensor
    features: torch.Tensor
    ids: torch.Tensor
    hits: torch.Tensor


class _Rasterize(torch.autograd.Function):
    """Colour, alpha, geometry and features of one picture, and their gradients."""

    @staticmethod
    def forward(
        ctx, means, log_scales, quaternions, opacity_logits, sh, features,
        view, position, intrinsics, background, width, height, degree, antialiased, geometry,
    ):  # fmt: skip
        splats = [_array(tensor) for tensor in (means, log_scales, quaternions, opacity_logits, sh)]
        camera = _array(view), _array(position), projection.lens_of(_array(intrinsics), width, height)
        picture = _Picture(splats, camera, degree, antialiased, width, height)
        kind, behind = ("geometry", np.zeros(8, np.float32)) if geometry else ("color", np.zeros(3, np.float32))
        behind[:3] = _array(background)
        image, seen, ids = picture.blend(kind, picture.records, behind)
        blended = np.empty((height, width, features.shape[1]), np.float32)
        values = _chunks(_array(features))
        for chunk, first in zip(values, range(0, features.shape[1], FEATURES), strict=True):
            part = picture.blend("features", chunk, np.zeros(FEATURES, np.float32))[0]
            blended[..., first : first + FEATURES] = part[..., : features.shape[1] - first]
        ctx.picture, ctx.kind, ctx.behind, ctx.seen, ctx.values = picture, kind, behind, seen, values
        alpha, depth = (image[..., 7], image[..., 3]) if geometry else (1 - seen[0], np.empty(0, np.float32))
        arrays = image[..., :3], alpha, depth, image[..., 4:7], blended, ids, picture.hits
        outputs = _Blended(*(torch.from_numpy(array) for array in arrays))
        ctx.mark_non_differentiable(outputs.ids, outputs.hits)
        return tuple(outputs)

    @staticmethod
    def backward(ctx, *outputs):  # pyright: ignore[reportIncompatibleMethodOverride]
        picture, to = ctx.picture, _Blended(*outputs)
        to_image, to_alpha, to_features = _array(to.color), _array(to.alpha), _array(to.features)
        if ctx.kind == "geometry":
            parts = to_image, _array(to.summed_depth)[..., None], _array(to.normal), to_alpha[..., None]
            to_image, to_alpha = np.concatenate(parts, 2), np.zeros_like(to_alpha)
        gradients = picture.blend_backward(ctx.kind, picture.records, ctx.behind, ctx.seen, to_image, to_alpha)
        to_values = np.empty((len(picture.hits), to_features.shape[2]), np.float32)
        black, nothing = np.zeros(FEATURES, np.float32), np.zeros_like(to_alpha)
        for chunk, first in zip(ctx.values, range(0, to_features.shape[2], FEATURES), strict=True):
            here = slice(first, first + FEATURES)
            to_part = _padded(to_features[..., here])
            part = picture.blend_backward("features", chunk, black, ctx.seen, to_part, nothing)
            gradients[:, : records.MOMENTS] += part[:, : records.MOMENTS]
            to_values[:, here] = part[:, records.MOMENTS :][:, : to_features.shape[2] - first]
        to_splats, to_view, to_position, to_intrinsics = picture.project_backward(gradients)
        to_background = np.einsum("hwc,hw->c", to_image[..., :3], ctx.seen[0])
        arrays = (*to_splats, to_values, to_view, to_position, to_intrinsics, to_background)
        return *(torch.from_numpy(array) for array in arrays), None, None, None, None, None


class _Picture:
    """One view of the splats: their records and the lists of the tiles, kept for the backward pass."""

    def __init__(self, splats, camera, degree: int, antialiased: bool, width: int, height: int) -> None:
        n = len(splats[0])
        self.splats, self.camera, self.degree, self.antialiased = splats, camera, degree, antialiased
        self.size = (height, width)
        self.columns, rows = -(-width // TILE), -(-height // TILE)
        self.records = np.empty((n, records.RECORD), np.float32)
        boxes = np.empty((n, 4), np.int32)
        size = np.array([width, height], np.int64)
        self.hits = np.empty(n, np.int32)
        share(projection.project, n, *splats, degree, *camera, size, antialiased, self.records, boxes, self.hits)
        self.slots = np.zeros(n + 1, np.int64)
        np.cumsum(self.hits, out=self.slots[1:])
        visible = np.flatnonzero(self.hits).astype(np.int32)
        order = tiles.sort_by_depth(self.records[visible, records.DEPTH].view(np.uint32), visible)
        self.starts, self.pairs = tiles.fill_lists(order, boxes, self.slots, self.columns, rows)
        self.done = np.empty(len(self.starts) - 1, np.int32)

    def blend(self, kind: str, values: np.ndarray, background: np.ndarray):
        """The channels (h, w, channels) over `background`; the T that is left and the place of the last Gaussian that
        counted, (2, h, w); the ids at the median."""
        image = np.empty((*self.size, len(background)), np.float32)
        seen = np.empty((2, *self.size), np.float32)
        ids = np.full(self.size if kind == "geometry" else (0, 0), -1, np.int32)
        share(
            _KERNELS[kind][0], len(self.done),
            self.records, values, self.starts, self.pairs, self.columns, background, image, *seen, ids, self.done,
            work=np.diff(self.starts),
        )  # fmt: skip
        return image, seen, ids

    def blend_backward(self, kind: str, values, background, seen, to_image, to_alpha) -> np.ndarray:
        """Gradients of the records' moments and of the values, (n, MOMENTS + channels)."""
        channels = to_image.shape[2]
        per_hit = np.empty((len(self.pairs), records.MOMENTS + channels), np.float32)
        share(
            _KERNELS[kind][1], len(self.done),
            self.records, values, self.starts, self.pairs, self.columns, background, *seen, to_image, to_alpha,
            self.done, per_hit, work=self.done,
        )  # fmt: skip
        sums = np.empty((len(self.hits), per_hit.shape[1]), np.float32)
        share(tiles.sum_slots, len(sums), self.slots, per_hit, sums)
        return sums

    def project_backward(self, gradients: np.ndarray):
        """Gradients of the splats' arrays, of the view (4, 4), the camera's position and the intrinsics (3, 3)."""
        to_splats = [np.zeros_like(array) for array in self.splats]
        chunks = -(-len(self.hits) // projection_backward.CHUNK)
        to_camera = np.zeros((chunks, projection_backward.CAMERA))
        share(
            projection_backward.project_backward, chunks,
            *self.splats, self.degree, *self.camera, self.antialiased, self.records, self.hits, gradients,
            *to_splats, to_camera,
        )  # fmt: skip
        total = to_camera.sum(0).astype(np.float32)
        to_view, to_intrinsics = np.zeros((4, 4), np.float32), np.zeros((3, 3), np.float32)
        to_view[:3] = total[:12].reshape(3, 4)
        to_intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]] = total[15:]
        return to_splats, to_view, total[12:15], to_intrinsics


_KERNELS = {
    "color": (blending.forward_color, blending_backward.backward_color),
    "geometry": (blending.forward_geometry, blending_backward.backward_geometry),
    "features": (blending.forward_features, blending_backward.backward_features),
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
