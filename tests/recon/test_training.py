"""The Trainer: what a run gives must not depend on where, how and how often it was stopped."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from recon import checkpoints
from recon.errors import UserError
from recon.scene import Scene
from recon.training import HISTORY, Diverged, Interrupted, Trainer

ROOT = Path(__file__).resolve().parents[2]


class Walk:
    """A random walk: the end depends on every step and on the generator's state."""

    def __init__(self, steps: int = 40, name: str = "walk", start: float = 0.0) -> None:
        self.name, self.steps = name, steps
        self.position = np.full(3, start)
        self.random = np.random.RandomState(5)
        self.done: list[int] = []

    def step(self, i: int) -> dict[str, float]:
        self.done.append(i)
        self.position = 0.9 * self.position + self.random.normal(size=3)
        return {"length": float(np.linalg.norm(self.position))}

    def state_dict(self) -> dict[str, np.ndarray]:
        _, key, position, has_gauss, gauss = self.random.get_state()
        return {"position": self.position, "key": key, "rest": np.array([position, has_gauss, gauss])}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        self.position = state["position"]
        position, has_gauss, gauss = state["rest"]
        self.random.set_state(("MT19937", state["key"], int(position), int(has_gauss), float(gauss)))

    def preview(self) -> Scene | None:
        return Scene(notes=(f"at {self.position}",))

    def result(self) -> np.ndarray:
        return self.position


def unbroken(steps: int = 40) -> np.ndarray:
    walk = Walk(steps)
    for i in range(steps):
        walk.step(i)
    return walk.position


def stopped_after(trainer: Trainer, step: int) -> Trainer:
    """Lets the trainer stop after that many steps, as Ctrl-C would."""

    class Stopping(Walk):
        def step(self, i: int) -> dict[str, float]:
            if i + 1 == step:
                trainer.request_stop()
            return super().step(i)

    with pytest.raises(Interrupted, match=f"after step {step} of 40 of stage walk"):
        trainer(Stopping())
    return trainer


def test_a_run_without_a_folder_gives_the_result() -> None:
    assert np.array_equal(Trainer()(Walk()), unbroken())


@pytest.mark.parametrize("step", [1, 17, 39, 40])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path, step: int) -> None:
    stopped_after(Trainer(tmp_path), step)
    walk = Walk()
    trainer = Trainer(tmp_path)
    assert np.array_equal(trainer(walk), unbroken())
    assert walk.done == list(range(step, 40))
    assert trainer.records[0].steps == 40 and not trainer.warnings


def test_a_finished_stage_is_loaded_and_never_trained_again(tmp_path: Path) -> None:
    first = Trainer(tmp_path)
    for name in ("one", "two"):
        first(Walk(name=name))
    walks = [Walk(name="one"), Walk(name="two"), Walk(name="three")]
    again = Trainer(tmp_path)
    results = [again(walk) for walk in walks]
    assert [len(walk.done) for walk in walks] == [0, 0, 40]
    assert all(np.array_equal(result, unbroken()) for result in results)
    assert again.records[:2] == first.records
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "01-one.safetensors",
        "02-two.safetensors",
        "03-three.safetensors",
    ]


def test_a_short_stage_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write = checkpoints.write
    monkeypatch.setattr(checkpoints, "write", lambda path, *rest: (written.append(path), write(path, *rest)))
    Trainer(tmp_path)(Walk(1000))
    assert written == [tmp_path / "01-walk.safetensors"]


def test_the_loop_costs_microseconds_a_step(tmp_path: Path) -> None:
    class Nothing(Walk):
        def step(self, i: int) -> dict[str, float]:
            return {"loss": 0.0}

    began = time.process_time()
    Trainer(tmp_path)(Nothing(50_000))
    assert (time.process_time() - began) / 50_000 < 20e-6


SCRIPT = f"""
import sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests/recon")!r}]
from pathlib import Path
from test_training import Walk
from recon.training import Interrupted, Trainer
class Slow(Walk):
    def step(self, i):
        losses = super().step(i)
        print(i, flush=True)
        time.sleep(float(sys.argv[3]))
        return losses
try:
    walk = Trainer(Path(sys.argv[1]), checkpoint_seconds=float(sys.argv[2]))(Slow(400))
except Interrupted as stop:
    print(stop, flush=True)
    sys.exit(130)
print("finished", walk.tobytes().hex(), flush=True)
"""


def started(folder: Path, checkpoint_seconds: float = 0.0, step_seconds: float = 0.0) -> subprocess.Popen[str]:
    """The walk in a process of its own; returns when its first step is done."""
    command = [sys.executable, "-c", SCRIPT, str(folder), str(checkpoint_seconds), str(step_seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    return process


def test_killed_again_and_again_it_gives_the_same_bits(tmp_path: Path) -> None:
    moments = random.Random(3)
    for _ in range(6):  # a checkpoint after every step: most kills hit the writing of one
        process = started(tmp_path)
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        process.communicate()
    out, err = started(tmp_path).communicate()
    assert out.split()[-1] == unbroken(400).tobytes().hex()
    assert "damaged" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_step_saves_and_says_so(tmp_path: Path, number: int) -> None:
    process = started(tmp_path, checkpoint_seconds=1000.0, step_seconds=0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "once more stops at once" in err
    last = out.splitlines()[-1]
    path = tmp_path / "01-walk.safetensors"
    assert last.startswith("stopped after step ") and last.endswith(f"is saved in {path}")
    stopped_at = int(last.split()[3])
    assert ["0", *out.splitlines()[:-1]] == [str(i) for i in range(stopped_at)]
    walk = Walk(400)
    assert np.array_equal(Trainer(tmp_path)(walk), unbroken(400))
    assert walk.done[0] == stopped_at


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    process = started(tmp_path, checkpoint_seconds=1000.0, step_seconds=100.0)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "once more" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode not in (0, 130)
    assert not list(tmp_path.iterdir())


def test_signals_are_given_back_after_the_loop() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    class Looking(Walk):
        def step(self, i: int) -> dict[str, float]:
            assert signal.getsignal(signal.SIGINT) is not before[0]
            return super().step(i)

    Trainer()(Looking())
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_it_runs_outside_the_main_thread() -> None:
    results: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: results.append(Trainer()(Walk())))
    thread.start()
    thread.join()
    assert np.array_equal(results[0], unbroken())


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(5000))


def lying_header(path: Path) -> None:
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])


def flipped_array_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def changed_facts(path: Path) -> None:
    content = path.read_bytes()
    changed = content.replace(rb"\"steps\":20", rb"\"steps\":21")
    assert changed != content
    path.write_bytes(changed)


@pytest.mark.parametrize("harm", [truncated, empty, garbage, lying_header, flipped_array_byte, changed_facts])
def test_a_damaged_checkpoint_is_said_and_started_over(tmp_path: Path, harm) -> None:
    stopped_after(Trainer(tmp_path), 20)
    harm(tmp_path / "01-walk.safetensors")
    trainer, walk = Trainer(tmp_path), Walk()
    assert np.array_equal(trainer(walk), unbroken())
    assert len(walk.done) == 40
    assert len(trainer.warnings) == 1
    assert "01-walk.safetensors: the checkpoint is damaged" in trainer.warnings[0]
    assert "stage walk starts over" in trainer.warnings[0]


def test_a_stage_does_not_go_on_from_another_result_than_it_began_with(tmp_path: Path) -> None:
    first = Trainer(tmp_path)
    first(Walk(name="one"))
    first(Walk(name="two"))
    truncated(tmp_path / "01-one.safetensors")
    again = Trainer(tmp_path)
    two = Walk(name="two")
    again(Walk(name="one", start=1.0))  # trained again it ends elsewhere
    again(two)
    assert len(two.done) == 40
    assert "another result of the stage before" in again.warnings[1]


def test_a_retrained_stage_with_the_same_result_keeps_what_came_after(tmp_path: Path) -> None:
    first = Trainer(tmp_path)
    first(Walk(name="one"))
    first(Walk(name="two"))
    truncated(tmp_path / "01-one.safetensors")
    again, two = Trainer(tmp_path), Walk(name="two")
    again(Walk(name="one"))
    again(two)
    assert two.done == []


def test_a_checkpoint_of_another_version_is_refused_in_a_sentence(tmp_path: Path) -> None:
    stopped_after(Trainer(tmp_path), 20)

    class Renamed(Walk):
        def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
            self.position = state["place"]

    with pytest.raises(UserError, match="01-walk.safetensors: the checkpoint does not fit stage walk .*--fresh"):
        Trainer(tmp_path)(Renamed())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    stopped_after(Trainer(tmp_path), 20)
    good = (tmp_path / "01-walk.safetensors").read_bytes()

    class Exploding(Walk):
        def step(self, i: int) -> dict[str, float]:
            return super().step(i) | ({"length": float("nan")} if i == 30 else {})

    with pytest.raises(Diverged, match="stage walk, step 30: the loss length is nan; the work up to step 20 is saved"):
        Trainer(tmp_path)(Exploding())
    assert (tmp_path / "01-walk.safetensors").read_bytes() == good


def test_a_state_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    class Hollow(Walk):
        def state_dict(self) -> dict[str, np.ndarray]:
            return super().state_dict() | {"position": np.array([0.0, np.inf, 0.0])}

    with pytest.raises(Diverged, match="stage walk, step 40: the state position holds NaN or infinity; nothing"):
        Trainer(tmp_path)(Hollow())
    assert not list(tmp_path.iterdir())


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_once_and_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_after(Trainer(tmp_path), 20)
    good = (tmp_path / "01-walk.safetensors").read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    trainer = Trainer(tmp_path, checkpoint_seconds=0.0)
    assert np.array_equal(trainer(Walk()), unbroken())
    assert len(trainer.warnings) == 1
    assert "No space left on device" in trainer.warnings[0] and "only the work up to step 20" in trainer.warnings[0]
    assert [p.name for p in tmp_path.iterdir()] == ["01-walk.safetensors"]
    assert (tmp_path / "01-walk.safetensors").read_bytes() == good
    monkeypatch.undo()
    assert np.array_equal(Trainer(tmp_path)(Walk()), unbroken())


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_write_that_fails_half_way_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    checkpoints.write(path, {"x": np.arange(10)}, "small")
    script = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import resource, numpy as np
from pathlib import Path
from recon import checkpoints
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.write(Path({str(path)!r}), {{"x": np.zeros(1_000_000)}}, "large")
except checkpoints.UnwritableCheckpoint as problem:
    print("refused:", problem)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refused: ") and "too large" in done.stdout
    arrays, facts = checkpoints.read(path)
    assert facts == "small" and np.array_equal(arrays["x"], np.arange(10))
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_checkpoint_is_plain_safetensors_with_every_kind_of_array(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "state.safetensors"
    arrays = {
        "scalar": np.array(3.5, np.float32),
        "strided": np.arange(24).reshape(4, 6)[::2, ::3],
        "none": np.zeros((0, 3), np.uint16),
    }
    checkpoints.write(path, arrays, "facts")
    with safe_open(path, framework="np") as file:
        for name, array in arrays.items():
            read = file.get_tensor(name)
            assert read.dtype == array.dtype and read.shape == array.shape and np.array_equal(read, array)


def test_the_record_adds_up_over_sessions_and_thins_the_losses(tmp_path: Path) -> None:
    class Busy(Walk):
        def __init__(self) -> None:
            super().__init__(2000)

        def step(self, i: int) -> dict[str, float]:
            if i == 1000 and not self.resumed:
                first.request_stop()
            if i % 1000 == 0:
                began = time.process_time()
                while time.process_time() - began < 0.1:
                    pass
            return super().step(i)

        resumed = False

    first, second = Trainer(tmp_path), Trainer(tmp_path)
    with pytest.raises(Interrupted):
        first(Busy())
    assert first.records[0].steps == 1001 and first.records[0].cpu_seconds >= 0.2
    resumed = Busy()
    resumed.resumed = True
    second(resumed)
    record = second.records[0]
    assert first.records[0].cpu_seconds < record.cpu_seconds < 2
    assert record.wall_seconds >= 0.1
    assert 10 < record.peak_memory_mb < 100_000
    curve = record.losses["length"]
    assert HISTORY <= len(curve) <= HISTORY + 1
    assert curve[0][0] == 0 and curve[-1][0] == 1999
    truth = Walk(2000)
    lengths = [truth.step(i)["length"] for i in range(2000)]
    assert all(value == lengths[step] for step, value in curve)


def test_progress_and_previews_are_told_between_steps() -> None:
    told, shown = [], []
    trainer = Trainer(preview_seconds=0.0, on_progress=told.append, on_preview=shown.append)
    trainer(Walk())
    assert (told[-1].stage, told[-1].step, told[-1].steps, told[-1].seconds_left) == ("walk", 40, 40, 0)
    assert len(shown) == 40


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_terminal_sees_a_bar_and_a_file_a_line_now_and_then(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("recon.progress.LINE_SECONDS", 0.0)
    Trainer()(Walk())
    assert "walk: step 40 of 40, length " in capsys.readouterr().err
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "1000", "0.002"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment)
    os.close(theirs)
    seen = "".join(iter(lambda: read_from_terminal(ours), ""))
    os.close(ours)
    assert process.wait() == 0
    assert "walk" in seen and "/400" in seen and "left" in seen and "━" in seen


def read_from_terminal(descriptor: int) -> str:
    """What was written to the terminal since; nothing when its last writer has gone, which Linux tells by EIO."""
    try:
        return os.read(descriptor, 1 << 16).decode()
    except OSError:
        return ""
