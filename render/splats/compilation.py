"""How the kernels are compiled: once, kept on disk, and said when it takes a while."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile

log = logging.getLogger(__name__)

# All of fast floating point but the licence to assume that no value is NaN or infinite: for kernels that meet what a
# user's file holds.
CAREFUL = {"nsz", "arcp", "contract", "afn", "reassoc"}


def kernel(fastmath: bool | set[str] = True) -> Callable[[Callable], Any]:
    """A decorator that compiles a function of float32 arrays.

    Divisions by zero follow IEEE: Python's check would keep a loop from being vectorised. numba keeps the result beside
    the source or, where that cannot be written, in the user's cache folder; where neither can, every process compiles
    anew, which is said once.
    """

    def compiled(function: Callable) -> Any:
        dispatcher: Any = numba.njit(function, fastmath=fastmath, error_model="numpy", nogil=True)
        try:
            dispatcher._cache = _PackageCache(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _say_that_nothing_is_kept()
        return dispatcher

    return compiled


class _PackageCache(FunctionCache):
    """numba's own cache, but out of date as soon as any file of this package has changed.

    numba looks at the file of the function alone, while what it compiled holds the constants and kernels of others.
    """

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, _digest_of_package())

    def _index_key(self, sig: Any, codegen: Any) -> tuple:
        """Tells the variants of a kernel apart by the numbers in its closure; numba's own key holds the kernels in it
        as well, which are other objects in every process, so that nothing would be found again."""
        values = [cell.cell_contents for cell in self._py_func.__closure__ or ()]
        return sig, codegen.magic_tuple(), tuple(int(value) for value in values if isinstance(value, int | np.integer))


@functools.cache
def _digest_of_package() -> str:
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@functools.cache
def _say_that_nothing_is_kept() -> None:
    log.warning("compiled kernels cannot be kept: set NUMBA_CACHE_DIR to a folder that can be written")


class _Announcement(event.Listener):
    """Says once a process that kernels of this package are being compiled."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: event.Event) -> None:
        ours = event.data and str(event.data["dispatcher"].py_func.__module__).startswith(__package__ or "")
        if ours and not self.said:
            self.said = True
            log.warning("compiling kernels: about 15 seconds, once on this machine")

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _Announcement())
