"""The command line: `relief COMMAND ...`, and `reconstruct INPUT ...` for the one used most.

A command is imported when it is named. A user's mistake is one sentence and exit status 2, a failure of the work 1, a
stop by Ctrl-C 130 with the work saved.
"""

from __future__ import annotations

import logging
import os
import sys

USAGE = """usage: relief COMMAND ...

  reconstruct INPUT     reconstruct with the method that suits the input   (also: reconstruct INPUT)
  methods               the methods there are, for which input, good for what, and their sources
  inspect INPUT         what the input holds, how it was understood, what is wrong with it
  view PATH             show a run, a mesh, splats or an input in the browser
  export RUN --to WHAT  write a run's result for Blender, as a mesh, as splats, or as a page to share
  render RUN            a video or pictures along a camera path
  convert FILE FILE     from one format of meshes, or of splats, to another
  compare RESULT TRUTH  distances, F-scores, IoU and topology of a mesh against the true one
  report RUN            write a run's report.html again
  doctor                what this machine has, what will be used, what is missing

relief COMMAND --help says more."""

COMMANDS = ("methods", "inspect", "view", "export", "render", "convert", "compare", "report", "doctor")

FLAGS_OF_INPUT = ("inspect", "view")  # parse their own arguments, because an input of each kind has other flags


def main() -> None:
    """The program `relief`."""
    arguments = sys.argv[1:]
    match arguments[:1]:
        case [] | ["-h"] | ["--help"]:
            print(USAGE)
            sys.exit(0 if arguments else 2)
        case ["--version"]:
            from importlib.metadata import version

            print(version("relief"))
        case [name]:
            sys.exit(_status_of(name, arguments[1:]))


def reconstruct_main() -> None:
    """The program `reconstruct`."""
    sys.exit(_status_of("reconstruct", sys.argv[1:]))


def _status_of(name: str, arguments: list[str]) -> int:
    """Runs a command and turns how it ended into an exit status."""
    from recon.errors import UserError

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait for a kernel's end sleep, not spin
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        return _run(name, arguments)
    except UserError as mistake:
        sys.stderr.write(f"error: {mistake}\n")
        return 2
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"\n{stop}; the same command goes on\n" if str(stop) else "\nstopped\n")
        return 130
    except BrokenPipeError:
        return 1
    except OSError as failure:
        where = f"{failure.filename}: " if failure.filename else ""
        sys.stderr.write(f"error: {where}{failure.strerror or failure}; what was finished is kept\n")
        return 1
    except MemoryError:
        sys.stderr.write("error: the memory did not suffice; --quality draft needs less\n")
        return 1


def _run(name: str, arguments: list[str]) -> int:
    if name == "reconstruct":
        from app.reconstruct import reconstruct

        return reconstruct(arguments)
    if name not in COMMANDS:
        sys.stderr.write(f"relief {name}: there is no such command; relief --help lists them\n")
        return 2
    from app import commands

    if name in FLAGS_OF_INPUT:
        getattr(commands, name)(arguments)
        return 0
    import tyro

    tyro.cli(getattr(commands, name), args=arguments, prog=f"relief {name}")
    return 0


if __name__ == "__main__":
    main()
