"""What a set of photos without cameras holds: the facts behind `relief inspect` for photos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from recon.inputs import Photos


def describe_photos(photos: Photos, path: Path, format_name: str) -> dict[str, Any]:
    """The facts of photos, of JSON's own types alone.

    `sizes` and `models` (camera and lens by EXIF) are given with how many photos have them; `focal_known`, `located`
    and `masks` count the photos whose focal length is known, that GPS has placed, and that have a mask.
    """
    sizes = Counter((photo.width, photo.height) for photo in photos.photos)
    models = Counter(photo.model for photo in photos.photos)
    return {
        "path": str(path),
        "format": format_name,
        "kind": "photos",
        "photos": len(photos.photos),
        "ordered": photos.ordered,
        "sizes": [{"width": w, "height": h, "photos": count} for (w, h), count in sizes.most_common()],
        "models": [{"name": name, "photos": count} for name, count in models.most_common()],
        "focal_known": sum(photo.focal is not None for photo in photos.photos),
        "located": sum(photo.position is not None for photo in photos.photos),
        "masks": sum(photo.mask is not None for photo in photos.photos),
        "notes": list(photos.notes),
    }


def rows_of_photos(description: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each fact of `describe_photos`, in words."""
    count = description["photos"]
    return [
        ("format", description["format"]),
        ("photos", f"{count}, {'in the order in which they were taken' if description['ordered'] else 'in no order'}"),
        ("sizes", ", ".join(f"{size['width']} x {size['height']} ({size['photos']})" for size in description["sizes"])),
        ("cameras", ", ".join(f"{one['name'] or 'unknown'} ({one['photos']})" for one in description["models"])),
        ("focal length", f"known of {description['focal_known']} of {count}"),
        ("GPS", f"of {description['located']} of {count}"),
        ("masks", f"of {description['masks']} of {count}"),
        ("poses", "none yet: they are found when the photos are reconstructed"),
    ]
