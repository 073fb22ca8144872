"""Whether gsplat's CUDA kernels are to be had: it compiles them where they are first used, in some minutes."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil


def missing_tools() -> str | None:
    """What the kernels cannot be compiled without, with the remedy; None where nothing is missing or they are there."""
    from torch.utils import cpp_extension

    if importlib.util.find_spec("gsplat") is None:
        return "gsplat is not installed; pip install gsplat"
    if importlib.util.find_spec("gsplat.csrc") is not None:  # a gsplat that was built with its kernels
        return None
    if cpp_extension.CUDA_HOME is None:
        return (
            "gsplat compiles its kernels with nvcc, which is not found; install a CUDA toolkit and set CUDA_HOME to it"
        )
    if not cpp_extension.is_ninja_available():
        return "gsplat compiles its kernels with ninja, which is not found; pip install ninja"
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        return f"gsplat compiles its kernels with a C++ compiler, and {compiler} is not found; install g++"
    return None


@functools.cache
def fault() -> str | None:
    """Why the kernels do not load, None where they do; compiles them where that was not done before."""
    missing = missing_tools()
    if missing is not None:
        return missing
    try:
        from gsplat.cuda._backend import _C  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as problem:  # torch's driver of the compiler raises whatever it trips over
        first = str(problem).strip().partition("\n")[0]
        return f"gsplat's kernels do not compile ({first}); nvcc must be of the CUDA version that torch was built for"
    return None if _C is not None else "gsplat finds no CUDA toolkit to compile its kernels with"
