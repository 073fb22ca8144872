"""Label volumes from some of their slices, measured on the others, beside interpolations without motion.

The baselines interpolate each label's exact signed distance within the slices, to the edges of its pixels, straight up
and down, and give a voxel to the label of least distance, the background being one of the labels.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import distance_transform_edt

from recon.formats import SliceOptions, read
from recon.inputs import CrossSections
from recon.methods.morphing import MorphingConfig, morphing
from recon.metrics import HeldOutDice, held_out_dice
from recon.scene import LabelGrid, Scene
from recon.slices import LabelVolume
from recon.surface.facts import mesh_facts
from recon.training import Trainer

DATA = Path(os.environ.get("RELIEF_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FEW_VOXELS = 50
VOLUMES = (
    ("ct_abdomen_multilabel/seg.nii.gz", 2),
    ("ct_abdomen_multilabel/seg.nii.gz", 3),
    ("ct_heart_seg/heart.nii.gz", 4),
    ("ct_heart_seg/pulmonary_artery.nii.gz", 4),
    ("bigbrain_nuclei/bigbrain.nii.gz", 4),
    ("seg3d_brain/Brain.nrrd", 4),
    ("seg3d_brain/BrainSkull.nrrd", 4),
    ("seg3d_brain/Skull.nrrd", 4),
)


def volume_rows() -> list[dict]:
    """A row per volume, share of slices kept and method.

    Dice is the mean over the labels that stand on the left-out slices between kept ones, and over those of them with
    at least `FEW_VOXELS` voxels there.
    """
    rows: list[dict] = []
    for name, every in VOLUMES:
        path = DATA / "slices" / name
        if not path.is_file():
            print(f"{name}: skipped, {path} is missing (RELIEF_DATA names the folder of the inputs)")
            continue
        sections = read(path, SliceOptions(keep_every=every))
        for method, interpolation in BASELINES.items():
            start = time.process_time()
            grid = interpolated(sections, interpolation)
            rows.append(_row(sections, f"{name}, 1 of {every}", method, grid, time.process_time() - start))
        morphing(sections, MorphingConfig.at("draft"), Trainer())  # compiles
        start = time.process_time()
        scene = morphing(sections, MorphingConfig.at("standard"), Trainer())
        seconds = time.process_time() - start
        assert scene.label_grid is not None
        rows.append(_row(sections, f"{name}, 1 of {every}", "morphing", scene.label_grid, seconds) | _surfaces(scene))
    return rows


def _row(sections: CrossSections, name: str, method: str, grid: LabelGrid, seconds: float) -> dict:
    """One line of the table."""
    dice = held_out_dice(sections, grid)
    return {
        "volume": name,
        "labels": str(len(sections.labels)),
        "method": method,
        "mean Dice": f"{_mean(sections, dice, 1):.4f}",
        f"of labels of {FEW_VOXELS} voxels": f"{_mean(sections, dice, FEW_VOXELS):.4f}",
        "agreement": f"{dice.foreground_agreement:.4f}",
        "CPU s": f"{seconds:.1f}",
        "surfaces": "",
    }


def _mean(sections: CrossSections, dice: HeldOutDice, least: int) -> float:
    """The mean over the labels with at least so many voxels on the left-out slices."""
    volume = sections.volume
    assert volume is not None
    voxels = np.bincount(np.take(volume.labels, volume.left_out, volume.axis).ravel(), minlength=1 << 16)
    return float(np.mean([dice.labels[one.name] for one in sections.labels if voxels[one.id] >= least]))


def _surfaces(scene: Scene) -> dict:
    """Whether all labels' surfaces are closed and manifold, and how many faces they have."""
    facts = [mesh_facts(mesh) for mesh in scene.objects.values()]
    sound = sum(fact.watertight and fact.non_manifold_edges == 0 for fact in facts)
    return {"surfaces": f"{sound} of {len(facts)} closed and manifold, {sum(fact.faces for fact in facts):,} faces"}


def interpolated(
    sections: CrossSections, between: Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
) -> LabelGrid:
    """The volume with its left-out slices filled in by distances interpolated along the slices' axis."""
    volume = sections.volume
    assert volume is not None
    slices = np.moveaxis(volume.labels, volume.axis, 0)
    pixel = np.delete(volume.spacing, volume.axis)
    least = np.full((len(volume.left_out), *slices.shape[1:]), np.inf, np.float32)
    owner = np.zeros(least.shape, np.uint16)
    for label in [0, *(label.id for label in sections.labels)]:
        distances = np.stack([signed_distance(slices[k] == label, pixel / pixel.min()) for k in volume.kept])
        found = between(volume.kept, distances)(volume.left_out).astype(np.float32)
        nearer = found < least
        least[nearer], owner[nearer] = found[nearer], label
    return LabelGrid(_filled(volume, owner), volume.affine)


def _filled(volume: LabelVolume, left_out: UInt16[np.ndarray, "slices rows columns"]) -> UInt16[np.ndarray, "nx ny nz"]:
    labels = volume.labels.copy()
    np.moveaxis(labels, volume.axis, 0)[volume.left_out] = left_out
    return labels


def signed_distance(mask: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """The distance within a slice to the edge of the mask's pixels; that across the slice where there is no edge."""
    far = float(np.linalg.norm(mask.shape * pixel))
    if mask.all() or not mask.any():
        return np.full(mask.shape, -far if mask.any() else far, np.float32)
    outside, inside = (np.asarray(distance_transform_edt(part, sampling=pixel)) for part in (~mask, mask))
    return (outside - inside - 0.5 * np.sign(outside - inside)).astype(np.float32)


def _linear(kept: np.ndarray, distances: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def at(positions: np.ndarray) -> np.ndarray:
        n = np.clip(np.searchsorted(kept, positions) - 1, 0, len(kept) - 2)
        t = ((positions - kept[n]) / (kept[n + 1] - kept[n]))[:, None, None]
        return (1 - t) * distances[n] + t * distances[n + 1]

    return at


def _nearest(kept: np.ndarray, distances: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda positions: distances[np.abs(kept[:, None] - positions).argmin(0)]


BASELINES = {
    "nearest slice": _nearest,
    "linear": _linear,
    "monotone cubic (PCHIP)": lambda kept, distances: PchipInterpolator(kept, distances, axis=0),
}
