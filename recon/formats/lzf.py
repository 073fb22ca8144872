"""LZF decompression (the scheme of LibLZF by M. Lehmann): literal runs and back references.

000lllll                      l + 1 literal bytes follow
lllooooo oooooooo             copy l + 2 bytes from o + 1 bytes before (l from 1 to 6)
111ooooo llllllll oooooooo    copy l + 9 bytes
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from numba import njit

LARGEST_RATIO = 88  # 3 bytes stand for 264 at most


def decompressed(source: UInt8[np.ndarray, "m"], size: int) -> UInt8[np.ndarray, "n"] | None:
    """The `size` bytes that `source` stands for; None where it stands for fewer or more, or refers before its start."""
    target = np.zeros(size, np.uint8)
    return target if _decompress(source, target) == size else None


@njit(cache=True)
def _decompress(source, target):
    """Fills the target and gives how many bytes that took; -1 for a stream that is none."""
    i, o = 0, 0
    while i < len(source):
        control = int(source[i])
        i += 1
        if control < 32:
            length = control + 1
            if i + length > len(source) or o + length > len(target):
                return -1
            target[o : o + length] = source[i : i + length]
            i += length
        else:
            length = control >> 5
            if length == 7:
                if i >= len(source):
                    return -1
                length += int(source[i])
                i += 1
            length += 2
            if i >= len(source):
                return -1
            start = o - ((control & 31) << 8) - int(source[i]) - 1
            i += 1
            if start < 0 or o + length > len(target):
                return -1
            for n in range(length):  # one by one: the run may reach into itself
                target[o + n] = target[start + n]
        o += length
    return o
