"""Files and folders that appear under their names only when they are whole, and names that every file system takes."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_NAME = 80
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, of the same suffix, and renames it to `path` when the block ends well.

    Where the block raises, what was written is removed and what stood at `path` before stays. A folder that stands
    there is replaced whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.stem[:LONGEST_NAME]}{path.suffix}")
    try:
        yield partial
        if path.is_dir() and partial.is_dir():
            former = partial.with_suffix(".former")
            path.rename(former)
            partial.rename(path)
            shutil.rmtree(former)
        else:
            partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


def file_names(names: Iterable[str]) -> dict[str, str]:
    """A file name without suffix for each of the names, distinct also where upper and lower case are one.

    Letters and digits of all scripts, "-", "_" and inner dots stay; everything else, "/" and spaces among it, becomes
    "_". Names that Windows keeps for itself get a "_", names met twice a number.
    """
    given: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        safe = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._")[:LONGEST_NAME] or "object"
        safe = "_" + safe if RESERVED.fullmatch(safe) else safe
        candidate, number = safe, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{safe}-{number}"
        taken.add(candidate.casefold())
        given[name] = candidate
    return given
