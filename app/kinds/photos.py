"""Images without cameras. They become views (`app.posing`) before anything else is done with them, so that most of what
differs for a kind of input is never asked of them."""

from __future__ import annotations

from jaxtyping import Float
from numpy import ndarray

from recon.errors import UserError
from recon.formats.options import PhotoOptions
from recon.inputs import Photos

NAME = "photos"
OPTIONS = PhotoOptions


def size(photos: Photos) -> str:
    """How many."""
    return f"{len(photos.photos)} photos"


def vertices(photos: Photos) -> Float[ndarray, "n 3"]:
    """Photos stand nowhere yet.

    Raises:
        UserError: always.
    """
    raise UserError(f"{photos.source}: these photos have no cameras yet; `reconstruct {photos.source}` finds them")
