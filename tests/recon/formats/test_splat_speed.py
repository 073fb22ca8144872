"""A million Gaussians through each format in CPU seconds, far above what it takes so that a busy machine passes."""

import time

import pytest
from splats_by_hand import sample

from recon.formats.splat_frames import Y_DOWN
from recon.formats.splats import read_splats, write_splats
from recon.gaussians.cleaning import SplatCleaning, kept
from recon.scene import Frame, Scene

COUNT = 1_000_000
SECONDS = {".ply": 8, ".glb": 8, ".compressed.ply": 12, ".splat": 8, ".spz": 12, ".sog": 60}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SECONDS)
def test_a_million(tmp_path, suffix):
    scene, path = Scene(gaussians=sample(COUNT), frame=Frame(up=Y_DOWN)), tmp_path / f"a{suffix}"
    start = time.process_time()
    write_splats(scene, path)
    wrote = time.process_time()
    found = read_splats(path).gaussians
    assert wrote - start < SECONDS[suffix]
    assert time.process_time() - wrote < 8
    assert len(found) == COUNT


@pytest.mark.slow
def test_floaters_of_a_million():
    scene = sample(COUNT)
    start = time.process_time()
    assert kept(scene, SplatCleaning(drop_floaters=0.01)).mean() > 0.5
    assert time.process_time() - start < 60
