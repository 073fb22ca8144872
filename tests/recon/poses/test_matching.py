"""Which photos are compared with which."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.poses.matching import FEW, choose_pairs


def walk(database: Path, count: int, seen: int = 60, random: np.random.Generator | None = None) -> None:
    """A database of photos along a walk: each sees a window of a long row of points, 4 further on than the one before,
    with noise on the points' descriptors."""
    import pycolmap

    random = random or np.random.default_rng(0)
    row = random.gamma(0.5, 40.0, (4 * count + seen, 128)).clip(0, 255)
    with pycolmap.Database.open(database) as content:
        camera = pycolmap.Camera(model="SIMPLE_PINHOLE", width=100, height=100, params=[100.0, 50.0, 50.0])
        camera.camera_id = content.write_camera(camera)
        for i in range(count):
            content.write_image(pycolmap.Image(name=str(i + 1), camera_id=camera.camera_id, image_id=i + 1), True)
            descriptors = pycolmap.FeatureDescriptors()
            noisy = row[4 * i : 4 * i + seen] + random.normal(0, 8, (seen, 128))
            descriptors.data = noisy.clip(0, 255).astype(np.uint8)
            content.write_descriptors(i + 1, descriptors)


def test_few_photos_are_all_compared(tmp_path):
    pairs = choose_pairs(tmp_path / "none.db", FEW, ordered=True, seed=0)
    assert len(pairs) == len(set(pairs)) == FEW * (FEW - 1) // 2 and all(i < j for i, j in pairs)


def test_of_many_photos_those_that_see_the_same_are_compared(tmp_path):
    count = 120
    walk(tmp_path / "walk.db", count)
    pairs = choose_pairs(tmp_path / "walk.db", count, ordered=False, seed=0)
    assert len(pairs) < 0.3 * count * (count - 1) / 2
    neighbours = {(i, i + offset) for offset in (1, 2, 3, 4) for i in range(count - offset)}
    assert len(neighbours & set(pairs)) > 0.95 * len(neighbours)
    assert pairs == choose_pairs(tmp_path / "walk.db", count, ordered=False, seed=0)


def test_ordered_photos_are_compared_with_their_neighbours(tmp_path):
    count = 100
    walk(tmp_path / "walk.db", count)
    pairs = set(choose_pairs(tmp_path / "walk.db", count, ordered=True, seed=0))
    assert {(i, i + 1) for i in range(count - 1)} | {(i, i + 10) for i in range(count - 10)} <= pairs
    assert (0, 64) in pairs and len(pairs) < 0.5 * count * (count - 1) / 2
