"""What is said where gsplat's kernels cannot be had."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch.utils import cpp_extension

from app.doctor import diagnose
from recon.errors import UserError
from recon.gaussians.initialization import gaussians_at, points_at_random
from recon.gaussians.tensors import to_splats
from render.splats import gsplat_kernels

pytest.importorskip("gsplat")


@pytest.fixture
def with_tools(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A machine with all that a compilation needs."""
    compiler = tmp_path / "c++"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(cpp_extension, "is_ninja_available", lambda: True)
    gsplat_kernels.fault.cache_clear()
    yield monkeypatch
    gsplat_kernels.fault.cache_clear()


def test_each_missing_tool_is_named(with_tools):
    assert gsplat_kernels.missing_tools() is None
    with_tools.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler is not found" in str(gsplat_kernels.missing_tools())
    with_tools.setattr(cpp_extension, "is_ninja_available", lambda: False)
    assert "pip install ninja" in str(gsplat_kernels.missing_tools())
    with_tools.setattr(cpp_extension, "CUDA_HOME", None)
    assert "set CUDA_HOME" in str(gsplat_kernels.missing_tools())


def test_a_failed_compilation_is_one_sentence(with_tools):
    class Failing:
        """Stands where gsplat compiles, as it is imported."""

        def __getattr__(self, name: str):
            raise RuntimeError("\nThe detected CUDA version (13.0) mismatches the version of PyTorch.\nMore lines.")

    with_tools.setitem(sys.modules, "gsplat.cuda._backend", Failing())
    gaussians = gaussians_at(*points_at_random(5, np.random.default_rng(0)), 0, True)
    with pytest.raises(
        UserError, match=r"^--device cuda: .*\(13.0\) mismatches .*; --device cpu works without$"
    ) as told:
        to_splats(gaussians, "cuda")
    assert "\n" not in str(told.value)


def test_the_doctor_tells_what_is_missing(with_tools):
    with_tools.setattr(torch.cuda, "is_available", lambda: True)
    with_tools.setattr(torch.cuda, "get_device_name", lambda _: "a device")
    [row] = [row for row in diagnose() if row.what.startswith("splats")]
    assert (row.found, row.remedy) == ("gsplat, on cuda", "")
    with_tools.setattr(cpp_extension, "CUDA_HOME", None)
    [row] = [row for row in diagnose() if row.what.startswith("splats")]
    assert "nvcc, which is not found" in row.found and row.remedy.startswith("install a CUDA toolkit")
