"""The command `reconstruct` as a user runs it: what it leaves, how it goes on, what it refuses."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

from app.reconstruct import reconstruct
from recon.errors import UserError
from recon.formats import read
from recon.methods import method_named
from recon.training import Trainer
from tests.killing import assert_a_broken_run_leaves_the_same_bytes

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def relief(*arguments: object, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs `relief` in a folder and checks its exit status."""
    command = [sys.executable, "-m", "app.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def eight(data_dir: Path, tmp_path: Path) -> Path:
    """A copy of a small input in a folder of its own."""
    return Path(shutil.copy(data_dir / "slices" / "eight_parallel12.csl", tmp_path / "eight.csl"))


def test_a_run_leaves_meshes_a_record_a_report_and_a_picture(eight: Path, data_dir: Path):
    relief("reconstruct", eight, "--quality", "draft", cwd=eight.parent)
    run = eight.parent / "runs" / "eight-least-bending"
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "done" and record["method"] == "least-bending"
    assert record["config"] == {"resolution": 64}
    assert record["metrics"]["objects"]["object"]["euler_number"] == -2
    assert record["metrics"]["contour_error"]["mean"] < 0.05
    assert [stage["name"] for stage in record["stages"]] == ["fields"]
    assert (run / "report.html").stat().st_size > 10_000 and (run / "preview.png").stat().st_size > 5_000
    mesh = trimesh.load_mesh(run / "scene" / "mesh.ply")
    truth = trimesh.load_mesh(data_dir / "slices" / "eight_truth.stl")
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(truth.volume, rel=0.05)
    np.testing.assert_allclose(mesh.bounds, truth.bounds, atol=0.06)
    assert {file.name for file in (run / "scene" / "objects").iterdir()} == {"object.ply"}
    assert not list(eight.parent.rglob(".partial*"))


def test_the_same_command_finds_its_run_and_another_makes_its_own(eight: Path):
    draft = ("reconstruct", eight, "--quality", "draft")
    relief(*draft, cwd=eight.parent)
    again = relief(*draft, cwd=eight.parent)
    assert "done before" in again.stdout
    other = relief("reconstruct", eight, "--resolution", 40, cwd=eight.parent)
    assert "eight-least-bending-2" in other.stdout and "another input or other options" in other.stderr
    eight.write_text(eight.read_text().replace("0.1376577232", "0.1376577233"))
    edited = relief(*draft, cwd=eight.parent)
    assert "eight-least-bending-3" in edited.stdout


def test_a_folder_that_holds_another_run_is_kept_unless_fresh(eight: Path):
    out = eight.parent / "mine"
    relief("reconstruct", eight, "--resolution", 40, "--out", out, cwd=eight.parent)
    before = (out / "run.json").read_bytes()
    refused = relief("reconstruct", eight, "--resolution", 44, "--out", out, cwd=eight.parent, expect=2)
    assert "--fresh" in refused.stderr and (out / "run.json").read_bytes() == before
    relief("reconstruct", eight, "--resolution", 44, "--out", out, "--fresh", cwd=eight.parent)
    assert json.loads((out / "run.json").read_text())["config"]["resolution"] == 44
    (eight.parent / "other").mkdir()
    (eight.parent / "other" / "letter.txt").write_text("mine")
    relief("reconstruct", eight, "--out", eight.parent / "other", cwd=eight.parent, expect=2)
    assert [file.name for file in (eight.parent / "other").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.csl"], "there is no such file"),
        (["eight.csl", "--method", "magic"], "choose one of"),
        (["eight.csl", "--resolution", "4"], "--resolution 4"),
        (["eight.csl", "--no-such-option"], "no-such-option"),
        (["eight.csl", "--keep-every", "3"], "holds contours"),
        (["broken.csl"], "broken.csl"),
        (["eight.csl", "--device", "cuda"], "--device cuda"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(eight: Path, arguments: list[str], said: str):
    if "cuda" in arguments:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has CUDA")
    (eight.parent / "broken.csl").write_bytes(eight.read_bytes()[:5000])
    refused = relief("reconstruct", *arguments, cwd=eight.parent, expect=2)
    assert said in refused.stderr
    assert not list(eight.parent.glob("runs/*"))


def test_what_does_not_fit_is_refused_with_its_remedy_and_leaves_nothing(eight: Path, monkeypatch, capsys):
    monkeypatch.chdir(eight.parent)
    monkeypatch.setattr("recon.limits.available_memory", lambda: 10**8)
    with pytest.raises(UserError, match=r"0\.1 GB are free; --resolution 64 needs an eighth of it"):
        reconstruct(["eight.csl"])
    assert re.search(r"least-bending: about \d+ s and 0\.\d GB", capsys.readouterr().err)
    assert not list(eight.parent.glob("runs/*"))


@pytest.mark.parametrize(
    ("file", "method", "options"),
    [
        ("eight_parallel12.csl", "least-bending", {"resolution": 128}),
        ("ct_abdomen.nii.gz", "morphing", {}),
        ("st_helens.geojson", "height-field", {"resolution": 500}),
    ],
)
def test_what_the_work_costs_is_known_to_a_factor_of_three(data_dir: Path, file: str, method: str, options: dict):
    input, row = read(data_dir / "slices" / file), method_named(method)
    function, config = row.load()
    estimated = row.cost(input, config(**options), "cpu")
    assert estimated is not None
    function(input, config(**options), Trainer())  # compiles what is not compiled yet
    began = time.process_time()
    function(input, config(**options), Trainer())
    assert 1 / 3 < (time.process_time() - began) / estimated.seconds < 3


def test_options_may_stand_before_the_input(eight: Path):
    relief("reconstruct", "--resolution", 40, eight, cwd=eight.parent)
    assert (eight.parent / "runs" / "eight-least-bending" / "scene" / "mesh.ply").is_file()


def test_a_disk_that_fills_up_is_one_sentence_and_the_next_run_goes_on(eight: Path):
    limited = f"ulimit -f 200; exec {sys.executable} -m app.cli reconstruct {eight} --quality draft"
    full = subprocess.run(
        ["bash", "-c", limited], cwd=eight.parent, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert "error: " in full.stderr.splitlines()[-1]
    run = eight.parent / "runs" / "eight-least-bending"
    assert json.loads((run / "run.json").read_text())["status"] == "failed" and not (run / "scene").exists()
    relief("reconstruct", eight, "--quality", "draft", cwd=eight.parent)
    assert trimesh.load_mesh(run / "scene" / "mesh.ply").is_watertight


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the CPU time of a process is read from /proc")
def test_training_that_is_killed_and_stopped_goes_on_to_the_same_result(eight: Path):
    options = ["--method", "orex", "--budget", "0.0002", "--resolution", "48", "--device", "cpu"]
    command = [sys.executable, "-m", "app.cli", "reconstruct", str(eight), *options, "--out"]
    assert_a_broken_run_leaves_the_same_bytes(command, eight.parent, ENVIRONMENT, "scene/mesh.ply")


def test_help_answers_at_once():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = relief("--help", cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "reconstruct INPUT" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_other_commands_answer(eight: Path, data_dir: Path):
    assert "least-bending" in relief("methods", cwd=eight.parent).stdout
    described = json.loads(relief("inspect", eight, "--json", cwd=eight.parent).stdout)
    assert described["planes"] == 12 and described["parallel"] is True
    assert "the CPU" in relief("doctor", cwd=eight.parent).stdout or "cuda" in relief("doctor", cwd=eight.parent).stdout
    relief("reconstruct", eight, "--quality", "draft", "--out", "run", cwd=eight.parent)
    truth = data_dir / "slices" / "eight_truth.stl"
    figures = json.loads(relief("compare", "run", truth, "--json", cwd=eight.parent).stdout)
    assert figures["iou"] > 0.94 and figures["euler_number"] == -2 and figures["f_score_1"] > 0.95
    relief("convert", "run/scene/mesh.ply", "eight.stl", "--faces", 5000, "--smooth", 1, cwd=eight.parent)
    small = trimesh.load_mesh(eight.parent / "eight.stl")
    assert small.is_watertight and abs(len(small.faces) - 5000) < 50
    assert small.volume == pytest.approx(trimesh.load_mesh(truth).volume, rel=0.05)
    (eight.parent / "run" / "report.html").unlink()
    relief("report", "run", cwd=eight.parent)
    assert "eight.csl" in (eight.parent / "run" / "report.html").read_text()
    relief("export", "run", "--to", "glb", cwd=eight.parent)
    assert (eight.parent / "run" / "export" / "run.glb").is_file()
    assert "no such command" in relief("paint", cwd=eight.parent, expect=2).stderr
