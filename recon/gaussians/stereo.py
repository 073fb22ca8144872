"""Where surfaces are before the training: the depth of each photo, from comparing it with its neighbours.

Structure from motion knows corners alone. Elsewhere Gaussians settle anywhere along a ray that explains a photo, and
where few photos look nothing moves them away again. A plane sweep (Collins 1996) takes planes that face the photo; the
one at inverse depth w carries a neighbour's picture into the photo's pixels x,

    x' ~ K' (R K^-1 x + w t),                R, t from the photo's camera to the neighbour's,

and the plane on which the windows around x and x' correlate the most gives the depth of x. Correlation does not mind
brightness. The unlike half of the neighbours is not counted, for there x may be hidden (Kang, Szeliski, Chai 2001). All
planes are tried on small pictures, those around the best again on larger ones. A depth is believed where the depth that
a neighbour has there leads back to the pixel: leaves and grass correlate little, but do not agree by chance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch.nn.functional import grid_sample, interpolate, pad

from recon.gaussians.targets import Target, Targets
from recon.scene import Scene

SIDES = (160, 320)  # pixels of the longer side of the pictures that are compared, about
WINDOW = 11  # pixels
NEIGHBORS = 4
ANGLES = (3.0, 10.0, 40.0)  # degrees between the rays to a point: too few to tell depth, best, too many to look alike
RANGE = (0.6, 1.6)  # times the inverse depth of the farthest and of the nearest known points: what stands between them
OUTLIERS = 0.01  # of the known points, at both ends
PLANES = 256  # at most
LIKE = 0.3  # correlation
BACK = 1.0  # pixels
PLAIN = 1e-4  # variance of grey values that is as good as none
MOST_PHOTOS = 100
MOST_KNOWN = 2000  # points that neighbours are chosen by
DRAWN = 6  # what random numbers are for


class Depths(NamedTuple):
    """The inverse depth of each pixel along the forward axis, and how well photo and neighbours correlate there."""

    inverse: Float32[torch.Tensor, "h w"]
    likeness: Float32[torch.Tensor, "h w"]


class DepthStage:
    """Finds the depths of the photos, one a step; the result is points on what they show and the points' colours."""

    name = "depths"

    def __init__(self, targets: Targets, known: Float[np.ndarray, "n 3"], most: int, seed: int) -> None:
        """The known points tell which photos see the same, and between which depths to search. The result has at most
        `most` points, drawn at random from all pixels whose depth is believed."""
        chosen = range(0, len(targets), math.ceil(len(targets) / MOST_PHOTOS))
        cameras = [targets.cameras[k] for k in chosen]
        longest = max(max(camera.width, camera.height) for camera in cameras)
        self.levels = [[targets.at(k, max(1, round(longest / side))) for k in chosen] for side in SIDES]
        self.steps, self.most, self.seed = len(cameras), most, seed
        sample = _drawn(known, MOST_KNOWN, seed)
        in_view = np.stack([_inside(camera.project(sample)[0], camera.width, camera.height) for camera in cameras])
        self.neighbors = _neighbors(np.stack([camera.position for camera in cameras]), sample, in_view)
        self.spans = {
            k: np.quantile(1 / cameras[k].project(sample[in_view[k]])[1], (OUTLIERS, 1 - OUTLIERS)) * RANGE
            for k in range(self.steps)
            if self.neighbors[k]
        }
        self.depths: dict[int, Depths] = {}

    def step(self, i: int) -> dict[str, float]:
        """The depths of photo i, where others look at the same."""
        if i in self.spans:
            levels = [(level[i], [level[j] for j in self.neighbors[i]]) for level in self.levels]
            self.depths[i] = _depths(levels, *self.spans[i])
        return {}

    def state_dict(self) -> dict[str, np.ndarray]:
        return {f"depths-{k}": torch.stack(depths).cpu().numpy() for k, depths in self.depths.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        for name, depths in state.items():
            k = int(name.removeprefix("depths-"))
            self.depths[k] = Depths(*torch.tensor(depths, device=self.levels[0][k].intrinsics.device))

    def preview(self) -> Scene | None:
        return None

    def result(self) -> tuple[Float64[np.ndarray, "m 3"], Float64[np.ndarray, "m 3"]]:
        photos, found = self.levels[-1], [np.empty((0, 6))]
        for k, own in self.depths.items():
            others = [(photos[j], self.depths[j]) for j in self.neighbors[k] if j in self.depths]
            points = _lifted(photos[k], _pixels(photos[k]), own.inverse)
            colors = photos[k].over(photos[k].intrinsics.new_zeros(3))
            found.append(torch.cat([points, colors], -1)[_believed(photos[k], own, others)].double().cpu().numpy())
        points, colors = np.hsplit(_drawn(np.concatenate(found), self.most, self.seed), 2)
        return points, colors


def _drawn(rows: Float[np.ndarray, "n k"], most: int, seed: int) -> Float[np.ndarray, "m k"]:
    return rows[np.sort(np.random.default_rng((seed, DRAWN)).choice(len(rows), min(most, len(rows)), replace=False))]


def _neighbors(
    centers: Float[np.ndarray, "k 3"], points: Float[np.ndarray, "n 3"], in_view: Bool[np.ndarray, "k n"]
) -> list[list[int]]:
    """For each camera those that look at most of the same points, under angles that tell depths."""
    rays = points - centers[:, None]
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    few, best, many = ANGLES
    neighbors = []
    for own, seen in zip(rays, in_view, strict=True):
        angles = np.degrees(np.arccos(np.clip((rays * own).sum(2), -1, 1)))
        worth = np.clip(np.minimum((angles - few) / (best - few), (many - angles) / (many - best)), 0, 1)
        score = (worth * in_view * seen).sum(1)
        order = np.argsort(-score, kind="stable")[:NEIGHBORS]
        neighbors.append([int(j) for j in order if score[j] > 0])
    return neighbors


def _depths(levels: list[tuple[Target, list[Target]]], farthest: float, nearest: float) -> Depths:
    """The depths of a photo between two inverse depths: from a sweep through all on the first level, of small pictures,
    and through five planes around the best of the level before on the others."""
    found = None
    for photo, others in levels:
        shape, step = photo.image.shape[:2], _step(photo, others, (farthest + nearest) / 2)
        if found is None:
            count = min(PLANES, max(3, math.ceil((nearest - farthest) / step) + 1))
            planes = torch.linspace(farthest, nearest, count)[:, None, None].expand(-1, *shape)
        else:
            before = interpolate(found.inverse[None, None], size=shape)[0]
            planes = before + step * torch.arange(-2.0, 3.0, device=before.device)[:, None, None]
        found = _best(photo, others, planes.to(photo.intrinsics.device))
    assert found is not None
    return found


def _step(photo: Target, others: list[Target], inverse: float) -> float:
    """The change of inverse depth by which the middle of the photo moves a pixel where it moves the most."""
    height, width = photo.image.shape[:2]
    middle = photo.intrinsics.new_tensor([width / 2, height / 2, 1])
    moves = []
    for other in others:
        turned, shift = _carried(photo, other)
        (u, v, w), (du, dv, dw) = turned @ middle + inverse * shift, shift
        moves.append(float(torch.hypot(du * w - u * dw, dv * w - v * dw) / w**2))
    return 1 / max(moves)


def _best(photo: Target, others: list[Target], planes: Float[torch.Tensor, "n h w"]) -> Depths:
    """Of evenly spaced inverse depths at each pixel the one that looks most alike, the top of a parabola through it and
    the two beside it."""
    correlations = torch.stack([_correlations(photo, other, planes) for other in others])
    half = ((correlations > -1).sum(0) + 1) // 2  # of those neighbours that have the pixel in view
    counted = torch.arange(len(others), device=half.device)[:, None, None, None] < half
    likeness = (correlations.sort(0, descending=True).values * counted).sum(0) / half.clamp(min=1)
    likeness = torch.where(half > 0, likeness, -1)
    most, index = likeness.max(0)
    inner = index.clamp(1, len(planes) - 2)
    before, top, after = (likeness.gather(0, (inner + side)[None])[0] for side in (-1, 0, 1))
    bend = before - 2 * top + after
    beside = torch.where((bend < 0) & (index == inner), (before - after) / (2 * bend), 0)
    inverse = planes.gather(0, index[None])[0] + beside * (planes[1] - planes[0])
    return Depths(inverse, torch.where(_looked_at(photo), most, -1))


def _correlations(photo: Target, other: Target, planes: Float[torch.Tensor, "n h w"]) -> Float[torch.Tensor, "n h w"]:
    """How the windows around the photo's pixels correlate with where they are in the neighbour if they lie at these
    inverse depths; -1 where that is outside."""
    turned, shift = _carried(photo, other)
    place = _pixels(photo) @ turned.T + planes[..., None] * shift
    height, width = other.image.shape[:2]
    place = 2 * place[..., :2] / place[..., 2:].clamp(min=1e-6) / place.new_tensor([width, height]) - 1
    pictures = torch.stack([_grey(other), _looked_at(other).float()]).expand(len(planes), -1, -1, -1)
    seen, inside = grid_sample(pictures, place, align_corners=False).unbind(1)
    own = _grey(photo)
    mean, mean_seen = _windowed(own), _windowed(seen)
    variance = (_windowed(own * own) - mean * mean).clamp(min=0) + PLAIN
    variance_seen = (_windowed(seen * seen) - mean_seen * mean_seen).clamp(min=0) + PLAIN
    together = (_windowed(own * seen) - mean * mean_seen) / (variance * variance_seen).sqrt()
    return torch.where(inside > 0.5, together, -1)


def _believed(photo: Target, own: Depths, others: list[tuple[Target, Depths]]) -> Bool[torch.Tensor, "h w"]:
    """Where the depth of a neighbour, at the place that a pixel has in it, leads back to the pixel."""
    pixels, believed = _pixels(photo), torch.zeros_like(own.inverse, dtype=torch.bool)
    points = _lifted(photo, pixels, own.inverse)
    for other, theirs in others:
        height, width = theirs.inverse.shape
        place = _projected(other, points)
        inside = (place > 0).all(-1) & (place[..., 0] < width) & (place[..., 1] < height)
        column, row = torch.where(inside[..., None], place, 0).long().unbind(-1)
        place = torch.cat([place, torch.ones_like(place[..., :1])], -1)
        back = _projected(photo, _lifted(other, place, theirs.inverse[row, column]))
        near = (back - pixels[..., :2]).norm(dim=-1) <= BACK
        believed |= inside & near & (theirs.likeness[row, column] > LIKE)
    return believed & (own.likeness > LIKE)


def _inside(pixels: Float[np.ndarray, "n 2"], width: int, height: int) -> Bool[np.ndarray, "n"]:
    """Which positions are in a picture; those of points behind the camera, which are not numbers, are not."""
    return np.all((pixels > 0) & (pixels < (width, height)), axis=1)


def _carried(photo: Target, other: Target) -> tuple[Float[torch.Tensor, "3 3"], Float[torch.Tensor, "3"]]:
    """K' R K^-1 and K' t of the module's formula."""
    between = other.world_to_camera @ torch.linalg.inv(photo.world_to_camera)
    return other.intrinsics @ between[:3, :3] @ torch.linalg.inv(photo.intrinsics), other.intrinsics @ between[:3, 3]


def _pixels(photo: Target) -> Float[torch.Tensor, "h w 3"]:
    """The centres of the pixels (u, v, 1)."""
    height, width = photo.image.shape[:2]
    device = photo.intrinsics.device
    v, u = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([u + 0.5, v + 0.5, torch.ones_like(u)], -1)


def _lifted(
    photo: Target, pixels: Float[torch.Tensor, "h w 3"], inverse: Float[torch.Tensor, "h w"]
) -> Float[torch.Tensor, "h w 3"]:
    """The world's points at pixels (u, v, 1) and inverse depths."""
    rays = pixels @ torch.linalg.inv(photo.intrinsics).T / inverse[..., None]
    return (rays - photo.world_to_camera[:3, 3]) @ photo.world_to_camera[:3, :3]


def _projected(photo: Target, points: Float[torch.Tensor, "h w 3"]) -> Float[torch.Tensor, "h w 2"]:
    """Where points are in a picture; -1 behind the camera."""
    place = (points @ photo.world_to_camera[:3, :3].T + photo.world_to_camera[:3, 3]) @ photo.intrinsics.T
    return torch.where(place[..., 2:] > 0, place[..., :2] / place[..., 2:], -1)


def _grey(photo: Target) -> Float[torch.Tensor, "h w"]:
    return photo.over(photo.intrinsics.new_zeros(3)).mean(-1)


def _looked_at(photo: Target) -> Bool[torch.Tensor, "h w"]:
    """Where neither mask nor alpha leave a photo out."""
    shown = torch.ones_like(photo.image[..., 0], dtype=torch.bool)
    if photo.image.shape[2] == 4:
        shown = photo.image[..., 3] > 127
    return shown if photo.mask is None else shown & photo.mask


def _windowed(values: Float[torch.Tensor, "*n h w"]) -> Float[torch.Tensor, "*n h w"]:
    """The mean over the window around each pixel; beyond the border the picture goes on as it ends."""
    reach = WINDOW // 2
    values = pad(values.view(-1, 1, *values.shape[-2:]), (reach + 1, reach, reach + 1, reach), mode="replicate").view(
        *values.shape[:-2], values.shape[-2] + WINDOW, values.shape[-1] + WINDOW
    )
    for axis in (-1, -2):
        total = values.cumsum(axis)
        length = total.shape[axis] - WINDOW
        values = (total.narrow(axis, WINDOW, length) - total.narrow(axis, 0, length)) / WINDOW
    return values
