"""What structure from motion did with each photo, why photos are left out, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from recon.inputs import Photos
from recon.poses.mapping import Mapping

FEW_FEATURES = 200
SHOWN = 12  # photos left out that the terminal names

BLURRED = (
    "has almost no detail",
    "leave it out if it is blurred or dark, else take it again with more in it that has texture",
)
ALONE = (
    "shows nothing that another photo shows",
    "take photos between it and the others, so that neighbours overlap by two thirds",
)
APART = ("overlaps only with photos that are left out as well", "take photos that join this group to the others")
LOOSE = (
    "shares too few points that are seen from two places",
    "take another photo near it, a step aside rather than turned on the spot",
)


class PhotoReport(msgspec.Struct, frozen=True):
    """One photo: `features` found in it, `matches` and `inliers` summed over the photos that it was compared with,
    `partners` how many of these stood the test, `points` of the model seen in it. `reason` and `remedy` where it is
    left out."""

    name: str
    registered: bool
    features: int
    matches: int
    inliers: int
    partners: int
    points: int = 0
    reason: str = ""
    remedy: str = ""


class PoseReport(msgspec.Struct, frozen=True):
    """How structure from motion went. `reprojection_error` is the mean in pixels, `models` how many photos each model
    had that was found, the largest first; `attempt` names the settings; `cpu_seconds` are of all attempts."""

    photos: tuple[PhotoReport, ...]
    reprojection_error: float
    points: int
    models: tuple[int, ...]
    attempt: str
    attempts: int
    cpu_seconds: float
    placement: str = ""

    @property
    def registered(self) -> int:
        """How many photos have a camera."""
        return sum(photo.registered for photo in self.photos)

    def lines(self) -> list[str]:
        """The report for a terminal, photos that are left out each with its reason."""
        total = len(self.photos)
        found = f": {self.points:,} points, {self.reprojection_error:.2f} px mean reprojection error"
        how = found if self.registered else ""
        lines = [f"{self.registered} of {total} photos have a camera{how}, {self.cpu_seconds:.0f} CPU s."]
        if self.attempts > 1:
            best = f"; the best with {self.attempt}" if self.registered else ""
            lines.append(f"{self.attempts} attempts were made{best}.")
        if len(self.models) > 1 and self.registered < total:
            lines.append(f"The photos fall into models of {', '.join(map(str, self.models))}; the largest is used.")
        if self.placement:
            lines.append(self.placement)
        left_out = [photo for photo in self.photos if not photo.registered]
        for photo in left_out[:SHOWN]:
            lines.append(f"{photo.name} is left out: it {photo.reason} ({photo.features} features); {photo.remedy}.")
        if len(left_out) > SHOWN:
            lines.append(f"{len(left_out) - SHOWN} more are left out; the report names them.")
        return lines


def report_of(
    photos: Photos, database: Path, mapping: Mapping, attempt: str, attempts: int, cpu_seconds: float
) -> PoseReport:
    """The report of an attempt, from its database and what was made of it."""
    import pycolmap

    count = len(photos.photos)
    matches, inliers = [0] * count, [0] * count
    partners: list[set[int]] = [set() for _ in range(count)]
    with pycolmap.Database.open(database) as content:
        features = [content.num_keypoints_for_image(i + 1) for i in range(count)]
        for pair, number in zip(*content.read_num_matches(), strict=True):
            for i in pycolmap.pair_id_to_image_pair(pair):
                matches[i - 1] += number
        for pair, number in zip(*content.read_two_view_geometry_num_inliers(), strict=True):
            i, j = (image - 1 for image in pycolmap.pair_id_to_image_pair(pair))
            if number > 0:
                inliers[i], inliers[j] = inliers[i] + number, inliers[j] + number
                partners[i].add(j)
                partners[j].add(i)
    model, registered = mapping.model, mapping.registered
    found = []
    for i, photo in enumerate(photos.photos):
        seen = model.image(i + 1).num_points3D if model is not None and i in registered else 0
        why = ("", "") if i in registered else _why(features[i], partners[i], registered)
        row = PhotoReport(
            photo.name, i in registered, features[i], matches[i], inliers[i], len(partners[i]), seen, *why
        )
        found.append(row)
    error = 0.0 if model is None else model.compute_mean_reprojection_error()
    points = 0 if model is None else model.num_points3D()
    return PoseReport(tuple(found), error, points, mapping.models, attempt, attempts, cpu_seconds)


def _why(features: int, partners: set[int], registered: frozenset[int]) -> tuple[str, str]:
    """Why a photo has no camera, and what would help."""
    if features < FEW_FEATURES and not partners & registered:
        return BLURRED
    if not partners:
        return ALONE
    return LOOSE if partners & registered else APART
