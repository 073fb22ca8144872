"""Kernels on several threads, which take their parts of the work one after the other.

The kernels let go of Python's lock (`compilation.kernel`), so that Python's own threads run them side by side. Idle
ones sleep, where numba's may spin between two kernels, and kernels with loops for numba's threads take it twice as long
to compile.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int

PARTS_A_THREAD = 16


def share(
    kernel: Callable[..., object], items: int, *arguments: object, work: Int[np.ndarray, "items"] | None = None
) -> None:
    """Calls kernel(first, end, *arguments) for parts [first, end) of the items, on as many threads as torch uses.

    Whichever thread is free takes the next part; `work` is what each item takes, as far as it is known before. What a
    kernel writes for an item must not depend on the part: then the number of threads changes no bit of the result.
    """
    threads = torch.get_num_threads()
    parts = iter(parts_of(items, threads, work))

    def take_parts() -> None:
        for first, end in parts:  # an iterator gives each part to one thread only
            kernel(first, end, *arguments)

    others = [_pool().submit(take_parts) for _ in range(threads - 1)]
    take_parts()
    for other in others:
        other.result()


def parts_of(items: int, threads: int, work: Int[np.ndarray, "items"] | None = None) -> list[tuple[int, int]]:
    """Parts of about as many items: neighbours, since these read the same memory. Those with the most work come first,
    so that the threads end with short ones, about at the same time."""
    count = max(1, min(items, PARTS_A_THREAD * threads)) if threads > 1 else 1
    parts = list(pairwise(items * part // count for part in range(count + 1)))
    return parts if work is None else sorted(parts, key=lambda part: -work[slice(*part)].sum())


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "kernels")
