"""Images without cameras. They become views (`app.run_input`) before anything else is done with them, so that most of
what differs for a kind of input is never asked of them."""

from __future__ import annotations

from recon.formats.options import PhotoOptions
from recon.inputs import Photos

NAME = "photos"
OPTIONS = PhotoOptions


def size(photos: Photos) -> str:
    """How many."""
    return f"{len(photos.photos)} photos"
