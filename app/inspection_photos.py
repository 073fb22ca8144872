"""What a set of photos without cameras holds: the facts behind `relief inspect` for photos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.inputs import Photos

if TYPE_CHECKING:
    from rich.console import Console


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


def print_photos(description: dict[str, Any], console: Console) -> None:
    """Prints what `describe_photos` gives as a table, and what was odd about it."""
    from rich.table import Table

    count = description["photos"]
    facts = Table(title=description["path"], title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = [
        ("format", description["format"]),
        ("photos", f"{count}, {'in the order in which they were taken' if description['ordered'] else 'in no order'}"),
        ("sizes", ", ".join(f"{size['width']} x {size['height']} ({size['photos']})" for size in description["sizes"])),
        ("cameras", ", ".join(f"{one['name'] or 'unknown'} ({one['photos']})" for one in description["models"])),
        ("focal length", f"known of {description['focal_known']} of {count}"),
        ("GPS", f"of {description['located']} of {count}"),
        ("masks", f"of {description['masks']} of {count}"),
        ("poses", "none yet: they are found when the photos are reconstructed"),
    ]
    for name, value in rows:
        facts.add_row(name, value)
    console.print(facts)
    for note in description["notes"]:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
