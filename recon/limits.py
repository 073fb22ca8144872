"""What fits on this machine, asked before the work starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from recon.errors import UserError


class Cost(NamedTuple):
    """What work will take, about: seconds, megabytes (10^6 bytes) of memory; and what would need less memory."""

    seconds: float
    megabytes: float
    remedy: str = "--quality draft needs less"


def available_memory() -> int | None:
    """The bytes of memory that are free, None where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def require_memory(needed: float, remedy: str, path: Path | None = None) -> None:
    """Refuses work that would take more bytes of memory than there are.

    Raises:
        UserError: the sentence says which file asks for it, how much is needed, how much is there, and the remedy.
    """
    available = available_memory()
    if available is not None and needed > available:
        where = "" if path is None else f"{path}: "
        raise UserError(
            f"{where}about {needed / 1e9:.1f} GB of memory are needed, {available / 1e9:.1f} GB are free; {remedy}"
        )
