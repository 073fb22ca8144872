"""The pose report on the page: which photos have a camera, and for the others why not and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.markup import Child, Markup, element, joined, table
from recon.poses import read_report


def pose_section(folder: Path | None, told: Sequence[str]) -> Markup | None:
    """What structure from motion did with each photo, but for the sentences that the page has `told` already; None
    where the folder is gone."""
    report = None if folder is None else read_report(folder)
    if report is None:
        return None
    rows: list[list[Child]] = [
        [
            photo.name,
            element("span", "yes", class_="good") if photo.registered else element("span", "no", class_="bad"),
            f"{photo.features:,}",
            f"{photo.inliers:,} of {photo.matches:,}",
            str(photo.partners),
            f"{photo.points:,}",
            f"{photo.reason}; {photo.remedy}" if photo.reason else "",
        ]
        for photo in sorted(report.photos, key=lambda photo: photo.registered)
    ]
    headings = [
        "photo",
        "camera",
        "features",
        "matches that hold",
        "photos matched",
        "points seen",
        "why it is left out",
    ]
    listing = element("details", element("summary", "Each photo"), table(headings, rows))
    said = (element("p", line) for line in report.lines() if line not in told)
    return joined(element("h2", "Where the cameras come from"), *said, listing)
