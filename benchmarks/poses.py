"""Structure from motion on real photos: how many get a camera, what it costs, and how far it is from references.

    python benchmarks/poses.py [SET ...]

References are the models beside the photos (`reference_sparse`, COLMAP's with other settings) and, for buddha13, the
projection matrices that come with it. Both are compared after the similarity that fits the cameras' centres best, so
they say how well two solutions agree, not how far they are from the truth. One thread unless OMP_NUM_THREADS says else.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from recon.errors import UserError
from recon.formats import photos as photo_reader
from recon.formats import read
from recon.formats.options import PhotoOptions, ViewOptions
from recon.inputs import View
from recon.poses import poses, read_report
from recon.poses.placement import robust_similarity

DATA = Path(os.environ.get("RELIEF_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SETS = ("brighton_beach", "socketed_axe", "lund_street", "berlin3", "buddha13")
WIDTHS = {"buddha13": 2736}  # of the photos that its matrices were made for
COLUMNS = ("set", "photos", "registered", "attempts", "CPU s", "points", "reprojection px", "rotation °", "position %")


def main() -> None:
    """Prints the table."""
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for name in sys.argv[1:] or SETS:
        row = _row(DATA / "photos" / name)
        print("| " + " | ".join(row.get(column, "") for column in COLUMNS) + " |", flush=True)


def _row(path: Path) -> dict[str, str]:
    photos = photo_reader.read(path, PhotoOptions())
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        try:
            views = poses(photos, Path(folder)).views
        except UserError as problem:
            print(problem, file=sys.stderr)
            views = ()
        seconds = time.process_time() - started
        report = read_report(Path(folder))
    assert report is not None
    row = {
        "set": path.name,
        "photos": str(len(photos.photos)),
        "registered": str(report.registered),
        "attempts": str(report.attempts),
        "CPU s": f"{seconds:.0f}",
        "points": f"{report.points:,}",
        "reprojection px": f"{report.reprojection_error:.2f}",
    }
    return row | _differences(views, path)


def _differences(views: tuple[View, ...], path: Path) -> dict[str, str]:
    """Median and largest difference to the reference: angles, and distances in percent of the cameras' spread."""
    source = path / "reference_sparse" if (path / "reference_sparse").is_dir() else path
    try:
        reference = {
            Path(view.name).stem: view.camera.world_to_camera
            for view in read(
                source, ViewOptions(images=str(path / "images"), calibrated_width=WIDTHS.get(path.name))
            ).views
        }
    except UserError:
        return {}
    pairs = [
        (view.camera.world_to_camera, reference[stem]) for view in views if (stem := Path(view.name).stem) in reference
    ]
    if len(pairs) < 3:
        return {}
    ours, theirs = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    centres, truth = _centres(ours), _centres(theirs)
    scale, rotation, translation = robust_similarity(centres, truth, np.eye(3))
    relative = theirs[:, :3, :3] @ rotation @ ours[:, :3, :3].swapaxes(1, 2)
    cosines = np.clip((np.trace(relative, axis1=1, axis2=2) - 1) / 2, -1, 1)
    angles = np.degrees(np.arccos(cosines))
    distances = np.linalg.norm(scale * centres @ rotation.T + translation - truth, axis=1)
    distances *= 100 / np.linalg.norm(truth - truth.mean(0), axis=1).mean()
    return {
        "rotation °": f"{np.median(angles):.2f}, {angles.max():.2f}",
        "position %": f"{np.median(distances):.2f}, {distances.max():.2f}",
    }


def _centres(world_to_cameras: np.ndarray) -> np.ndarray:
    return -np.einsum("nji,nj->ni", world_to_cameras[:, :3, :3], world_to_cameras[:, :3, 3])


if __name__ == "__main__":
    main()
