"""A process that trains, killed at several moments, against one that is left alone."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np


def assert_killed_runs_end_with_the_same_bits(code: str, folder: Path, steps: int, soon: int, late: int) -> None:
    """`code` trains in the folder of its first argument, prints every step's number and leaves arrays in the file of
    its second. It is killed three times, `soon` to `late` steps after it began or went on, of `steps` in all."""

    def run(place: Path, kill_after: int | None) -> int:
        """How far the run was when it was killed, once it had done so many steps since it was started."""
        command = [sys.executable, "-c", code, str(place), str(place) + ".npz"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            done = [0]
            for line in process.stdout:
                done.append(int(line))
                if kill_after is not None and done[-1] - done[1] >= kill_after:
                    process.kill()
                    break
            assert kill_after is not None or process.wait() == 0
        return done[-1]

    unbroken, broken = folder / "unbroken", folder / "broken"
    run(unbroken, None)
    moments = random.Random(11)
    reached = [run(broken, moments.randint(soon, late)) for _ in range(3)]
    assert reached[0] < reached[-1] < steps
    run(broken, None)
    ours, theirs = np.load(f"{broken}.npz"), np.load(f"{unbroken}.npz")
    assert set(ours) == set(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)
