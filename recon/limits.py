"""What fits on this machine, asked before the work starts."""

from __future__ import annotations

import os
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


def require_memory(needed: float, remedy: str) -> None:
    """Refuses work that would take more memory than there is.

    Raises:
        UserError: the sentence says how much is needed, how much is there, and the remedy.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise UserError(
            f"about {needed / 1e9:.1f} GB of memory are needed, {available / 1e9:.1f} GB are free; {remedy}"
        )
