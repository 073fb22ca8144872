"""A process that trains, killed at several moments, against one that is left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
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


def assert_a_broken_run_leaves_the_same_bytes(
    command: list[str], folder: Path, environment: dict[str, str], scene: str
) -> None:
    """`command` reconstructs into the run folder that is appended to it, and leaves `scene` there, twice the same. A
    third run is killed, stopped as a user does, and killed again, at fractions of the CPU time that the second took: up
    to a fifth of it passes before the training."""

    def end(share: float, number: signal.Signals) -> tuple[int, str]:
        """Sends a signal once the run has worked so long, however busy the machine is, and waits for its end."""
        process = subprocess.Popen(
            [*command, "broken"],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None:
            user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            if (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") >= share * whole:
                break
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
        return process.returncode, errors

    for name in ("first", "whole"):  # the first compiles kernels, maybe
        before = os.times()
        subprocess.run([*command, name], cwd=folder, env=environment, check=True, capture_output=True)
        after = os.times()
    whole = after.children_user + after.children_system - before.children_user - before.children_system
    broken = folder / "broken"
    assert end(0.3, signal.SIGKILL)[0] == -signal.SIGKILL
    status, errors = end(0.35, signal.SIGINT)
    assert status == 130 and "the same command goes on" in errors
    assert json.loads((broken / "run.json").read_text())["status"] == "stopped"
    assert end(0.3, signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (broken / "scene").exists()
    subprocess.run([*command, "broken"], cwd=folder, env=environment, check=True, capture_output=True)
    first, whole_scene, broken_scene = ((folder / name / scene).read_bytes() for name in ("first", "whole", "broken"))
    assert first == whole_scene == broken_scene
