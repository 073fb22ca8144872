"""Photos of a scene that is known exactly: a textured floor and two textured walls, seen by pinhole cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.inputs import Photo, Photos
from render.cameras import Camera, look_at

WIDTH, HEIGHT, FOCAL = 320, 240, 280.0
TEXTURE = 1024
PLANES = (  # a corner, and two sides of 8 units
    ((-4.0, -4.0, 0.0), (8.0, 0.0, 0.0), (0.0, 8.0, 0.0)),
    ((-4.0, 3.0, 0.0), (8.0, 0.0, 0.0), (0.0, 0.0, 8.0)),
    ((-3.0, -4.0, 0.0), (0.0, 8.0, 0.0), (0.0, 0.0, 8.0)),
)


def cameras(count: int) -> list[Camera]:
    """Cameras on an arc of a quarter circle that look at the corner, at different heights."""
    found = []
    for angle in np.linspace(-1.3, -0.3, count):
        eye = np.array([6 * np.cos(angle) - 1, 6 * np.sin(angle) + 1, 2.2 + 0.6 * np.sin(5 * angle)])
        intrinsics = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])
        found.append(Camera(look_at(eye, (-1.2, 1.2, 0.9)), intrinsics, WIDTH, HEIGHT))
    return found


def textures(seed: int) -> np.ndarray:
    """Three pictures of random grains of several sizes, (3, TEXTURE, TEXTURE, 3) uint8."""
    random = np.random.default_rng(seed)
    total = np.zeros((3, TEXTURE, TEXTURE, 3))
    for size in (8, 16, 32, 64, 128):
        grains = random.uniform(-1, 1, (3, size, size, 3))
        total += np.kron(grains, np.ones((1, TEXTURE // size, TEXTURE // size, 1)))
    return (255 * (total - total.min()) / (total.max() - total.min())).astype(np.uint8)


def picture(camera: Camera, painted: np.ndarray) -> np.ndarray:
    """What the camera sees, four rays a pixel."""
    fine = camera.resized(2)
    origin, directions = fine.rays()
    nearest = np.full(len(directions), np.inf)
    colors = np.zeros((len(directions), 3))
    for (corner, u, v), texture in zip(np.array(PLANES), painted, strict=True):
        normal = np.cross(u, v)
        along = directions @ normal
        distance = (corner - origin[0]) @ normal / np.where(np.abs(along) < 1e-9, 1e-9, along)
        hit = origin[0] + distance[:, None] * directions - corner
        a, b = hit @ u / (u @ u), hit @ v / (v @ v)
        seen = (distance > 0) & (distance < nearest) & (a >= 0) & (a < 1) & (b >= 0) & (b < 1)
        nearest[seen] = distance[seen]
        colors[seen] = texture[(b[seen] * TEXTURE).astype(int), (a[seen] * TEXTURE).astype(int)]
    return colors.reshape(HEIGHT, 2, WIDTH, 2, 3).mean((1, 3)).round().astype(np.uint8)


def save(folder: Path, pictures: list[np.ndarray]) -> None:
    """The pictures as shot_00.png, shot_01.png, ..."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"shot_{index:02d}.png")


def photos_in(folder: Path, **facts) -> Photos:
    """The pictures of a folder; `facts` are lists of fields of `Photo`, one value a picture."""
    from PIL import Image

    files = sorted(folder.glob("*.png"))
    photos = []
    for index, file in enumerate(files):
        own = {name: values[index] for name, values in facts.items()}
        photos.append(Photo(file.name, WIDTH, HEIGHT, lambda file=file: np.asarray(Image.open(file)), **own))
    return Photos(tuple(photos), folder)
