"""Pictures of meshes by ray casting: what is seen at each pixel, lit by a key light and an overcast sky.

Each pixel is an average over supersampling^2 samples. A sample's radiance is

    albedo * (KEY * visible_key * max(0, n . key) + SKY * mean_i 2 visible_i * max(0, n . sky_i)
              + BOUNCE * (1 - n . up) / 2 + FILL * n . view)

in linear light, with n the smooth normal turned to the viewer. The sky's lights are shared out among the samples of a
pixel: each looks at a few of them, all together at all, so that soft shadows cost few rays and show no noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8

from render.cameras import Camera
from render.raycasting import Hits, Raycaster

if TYPE_CHECKING:
    import trimesh

CLAY = (0.85, 0.81, 0.75)
KEY, SKY, BOUNCE, FILL = 0.66, 0.38, 0.08, 0.08
SKY_LIGHTS = 12
CREASE = np.cos(np.radians(40))
ASIDE = np.float32(2e-4)


@dataclass(frozen=True)
class Picture:
    """What a camera sees. `color` is sRGB in [0, 1] with straight `alpha`; `depth` (infinite where nothing is),
    world `normal` (zero where nothing is) and `face` (-1 where nothing is) are those of the pixel's nearest sample,
    which stands at the pixel's centre where supersampling is 1."""

    color: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]
    normal: Float32[np.ndarray, "h w 3"]
    face: Int32[np.ndarray, "h w"]

    def over(self, background: Sequence[float] | Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
        """The picture on a colour or on another picture's pixels."""
        alpha = self.alpha[..., None]
        return self.color * alpha + np.asarray(background, np.float32) * (1 - alpha)


def render_mesh(
    mesh: trimesh.Trimesh,
    camera: Camera,
    colors: Sequence[float] | Float[np.ndarray, "n 3"] | None = None,
    up: Sequence[float] = (0, 0, 1),
    supersampling: int = 2,
    lit: bool = True,
) -> Picture:
    """The mesh as the camera sees it.

    `colors` are sRGB in [0, 1]: one for all, one a vertex or one a face; by default the mesh's own vertex or face
    colours, else clay. Without `lit` each pixel shows the colour itself. `up` is where the sky is.
    """
    return render_meshes(mesh, [camera], colors, up, supersampling, lit)[0]


def render_meshes(
    mesh: trimesh.Trimesh,
    cameras: Sequence[Camera],
    colors: Sequence[float] | Float[np.ndarray, "n 3"] | None = None,
    up: Sequence[float] = (0, 0, 1),
    supersampling: int = 2,
    lit: bool = True,
) -> list[Picture]:
    """The mesh as each of the cameras sees it; the preparation of the mesh is done once. See `render_mesh`."""
    if colors is None:
        kind, own = own_colors(mesh)
        colors = own / 255.0 if kind else CLAY
    surface = _Surface(mesh, colors)
    return [_picture(surface, camera, np.asarray(up, np.float32), supersampling, lit) for camera in cameras]


def own_colors(mesh: trimesh.Trimesh) -> tuple[Literal["vertex", "face"] | None, UInt8[np.ndarray, "n 3"]]:
    """Whether the mesh has colours of its own, one a vertex or one a face, and these in sRGB bytes (no row if none)."""
    visual: Any = mesh.visual
    if visual.kind == "vertex":
        return "vertex", visual.vertex_colors[:, :3]
    if visual.kind == "face":
        return "face", visual.face_colors[:, :3]
    return None, np.zeros((0, 3), np.uint8)


def to_linear(color: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """sRGB values in [0, 1] to linear ones (IEC 61966-2-1)."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear values to sRGB ones, cut off at 1."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def to_bytes(color: Float[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """Values in [0, 1] as bytes."""
    return np.rint(np.clip(color, 0, 1) * 255).astype(np.uint8)


class _Surface:
    """A mesh prepared to be looked at: scaled to the cube [-1, 1]^3 for float32's sake. A corner's normal is its
    vertex's, or its face's where the two differ by more than the crease angle."""

    def __init__(self, mesh: trimesh.Trimesh, colors: Sequence[float] | Float[np.ndarray, "n 3"]):
        low, high = mesh.bounds
        self.center, self.size = (low + high) / 2, float((high - low).max()) / 2 or 1.0
        self.faces = np.asarray(mesh.faces)
        self.vertices = ((np.asarray(mesh.vertices) - self.center) / self.size).astype(np.float32)
        self.caster = Raycaster(self.vertices, self.faces)
        self.face_normals = _unit(_area_normals(self.vertices, self.faces))
        self.corner_normals = vertex_normals(self.vertices, self.faces)[self.faces]
        sharp = np.einsum("fkc,fc->fk", self.corner_normals, self.face_normals) < CREASE
        self.corner_normals[sharp] = np.broadcast_to(self.face_normals[:, None], sharp.shape + (3,))[sharp]
        self.colors = to_linear(np.atleast_2d(np.asarray(colors, np.float32)))

    def albedo(
        self, face: Int[np.ndarray, "n"], weights: Float32[np.ndarray, "n 3"]
    ) -> Float32[np.ndarray, "n 3"] | Float32[np.ndarray, "1 3"]:
        """Linear colour at points of faces given by barycentric weights."""
        if len(self.colors) == len(self.vertices):
            return np.einsum("nk,nkc->nc", weights, self.colors[self.faces[face]])
        return self.colors[face] if len(self.colors) == len(self.faces) else self.colors


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float32[np.ndarray, "v 3"]:
    """Unit normals at the vertices: the area-weighted mean of the faces around each; +z where a vertex has none."""
    sums = np.zeros((len(vertices), 3))
    area_normals = _area_normals(vertices, faces)
    for axis in range(3):
        sums[:, axis] = np.bincount(faces.ravel(), np.repeat(area_normals[:, axis], 3), minlength=len(vertices))
    sums[~sums.any(axis=1)] = (0, 0, 1)
    return _unit(sums).astype(np.float32)


def _area_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3"]:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def _picture(surface: _Surface, camera: Camera, up: Float32[np.ndarray, "3"], supersampling: int, lit: bool) -> Picture:
    """One view: casts the samples' rays, shades what they hit, averages the samples of each pixel in linear light."""
    fine = camera.resized(supersampling)
    origins, directions = fine.rays()
    origins = np.broadcast_to(((origins - surface.center) / surface.size).astype(np.float32), directions.shape)
    hits = surface.caster.first_hits(origins, directions)
    seen = np.flatnonzero(hits.face >= 0)
    at = Hits(*(values[seen] for values in hits))
    weights = np.stack([1 - at.u - at.v, at.u, at.v], axis=1)
    view = -_unit(directions[seen])
    away = np.einsum("nc,nc->n", surface.face_normals[at.face], view) < 0
    normal = _unit(np.einsum("nk,nkc->nc", weights, surface.corner_normals[at.face]))
    normal[away] *= -1
    light = surface.albedo(at.face, weights)
    if lit:
        points = origins[seen] + at.t[:, None] * directions[seen]
        points += ASIDE * np.where(away[:, None], -1, 1) * surface.face_normals[at.face]
        slot = _sample_slots(fine, supersampling)[seen]
        light = light * _irradiance(surface, points, normal, view, slot, camera, up, supersampling)[:, None]
    return _averaged(fine, supersampling, seen, np.broadcast_to(light, normal.shape), at, normal, surface.size)


def _irradiance(
    surface: _Surface,
    points: Float32[np.ndarray, "n 3"],
    normal: Float32[np.ndarray, "n 3"],
    view: Float32[np.ndarray, "n 3"],
    slot: Int[np.ndarray, "n"],
    camera: Camera,
    up: Float32[np.ndarray, "3"],
    supersampling: int,
) -> Float32[np.ndarray, "n"]:
    """The light that reaches points, by the formula at the head of this module."""
    slots = supersampling**2
    sky, key = _sky(up), _key_lights(camera, up, slots)
    total = BOUNCE * (1 - normal @ up) / 2 + FILL * np.einsum("nc,nc->n", normal, view)
    for i in range(slots):
        mine = np.flatnonzero(slot == i)
        lights = sky[i::slots] if slots < SKY_LIGHTS else sky
        for direction, strength in [(key[i], KEY), *((one, 2 * SKY / len(lights)) for one in lights)]:
            facing = normal[mine] @ direction
            lit = mine[facing > 0]
            free = ~surface.caster.occluded(points[lit], np.broadcast_to(direction, (len(lit), 3)))
            total[lit] += strength * facing[facing > 0] * free
    return total


def _sky(up: Float32[np.ndarray, "3"]) -> Float32[np.ndarray, "lights 3"]:
    """Directions spread evenly over the hemisphere around `up`, by the golden angle."""
    i = np.arange(SKY_LIGHTS)
    height, turn = (i + 0.5) / SKY_LIGHTS, np.pi * (3 - np.sqrt(5)) * i
    level = np.sqrt(1 - height**2)
    basis = np.linalg.svd(up[None])[2]
    across = level[:, None] * (np.cos(turn)[:, None] * basis[1] + np.sin(turn)[:, None] * basis[2])
    return (across + height[:, None] * up / np.linalg.norm(up)).astype(np.float32)


def _key_lights(camera: Camera, up: Float32[np.ndarray, "3"], count: int) -> Float32[np.ndarray, "count 3"]:
    """The key light from above the viewer's left shoulder, as `count` directions a few degrees apart."""
    right, down, forward = camera.world_to_camera[:3, :3]
    direction = -0.8 * right - 0.55 * down - 0.6 * forward + 0.2 * up
    turn = 2 * np.pi * np.arange(count) / count
    spread = 0.05 * (count > 1) * (np.cos(turn)[:, None] * right + np.sin(turn)[:, None] * down)
    return _unit((direction / np.linalg.norm(direction) + spread).astype(np.float32))


def _sample_slots(fine: Camera, supersampling: int) -> Int[np.ndarray, "n"]:
    """Which of its pixel's samples each sample is, 0 to supersampling^2 - 1."""
    rows, columns = np.arange(fine.height) % supersampling, np.arange(fine.width) % supersampling
    return (supersampling * rows[:, None] + columns).ravel()


def _averaged(
    fine: Camera,
    supersampling: int,
    seen: Int[np.ndarray, "n"],
    light: Float32[np.ndarray, "n 3"],
    at: Hits,
    normal: Float32[np.ndarray, "n 3"],
    size: float,
) -> Picture:
    """The picture whose pixels are the samples' means; its geometry is that of each pixel's nearest sample."""

    def by_pixel(values: np.ndarray, missing: float) -> np.ndarray:
        full = np.full((fine.height * fine.width, *values.shape[1:]), missing, values.dtype)
        full[seen] = values
        s = supersampling
        blocks = full.reshape(fine.height // s, s, fine.width // s, s, -1).swapaxes(1, 2)
        return blocks.reshape(fine.height // s, fine.width // s, s * s, -1)

    covered = by_pixel(np.ones(len(seen), np.float32), 0).mean(2)
    color = to_srgb(by_pixel(light.astype(np.float32), 0).mean(2) / np.maximum(covered, 1e-6)).astype(np.float32)
    depth = by_pixel(at.t * np.float32(size), np.inf)
    nearest = depth.argmin(2)[:, :, None]

    def of_nearest(samples: np.ndarray) -> np.ndarray:
        return np.take_along_axis(samples, nearest, 2)[:, :, 0]

    return Picture(
        color,
        covered[..., 0],
        of_nearest(depth)[..., 0],
        of_nearest(by_pixel(normal, 0)),
        of_nearest(by_pixel(at.face, -1))[..., 0],
    )


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    length = np.sqrt(np.einsum("nc,nc->n", vectors, vectors))
    return vectors / np.maximum(length, vectors.dtype.type(1e-30))[:, None]
