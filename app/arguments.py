"""From the words of a command line to options.

Which flags there are depends on what is said: an input has the flags of its kind, a method its own.
"""

from __future__ import annotations

from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

import msgspec
import tyro

from recon.errors import UserError


def parse(arguments: list[str], program: str, **parts: Any) -> Any:
    """An object whose attributes are the `parts` filled from the arguments. A part is a class of options, or an object
    of one, whose values are then the defaults.

    Help and unknown flags end the program with the usage.

    Raises:
        UserError: a value is out of its range.
    """
    parsed = tyro.cli(_joined(parts), args=arguments, prog=program)
    for name in parts:
        check_ranges(getattr(parsed, name))
    return parsed


def parse_some(arguments: list[str], program: str, part: type) -> Any:
    """One class of options, filled from those of the arguments that it knows. Where an input stands first, a wish for
    help is left to `parse`, which knows all flags."""
    if arguments and not arguments[0].startswith("-"):
        arguments = [argument for argument in arguments if argument not in ("--help", "-h")]
    known, _ = tyro.cli(_joined({"part": part}), args=arguments, prog=program, return_unknown_args=True)
    return known.part


def input_first(arguments: list[str]) -> list[str]:
    """The arguments with the input in front, so that no value of an option yet unknown is taken for it."""
    for n, argument in enumerate(arguments):
        if not argument.startswith("-") and (n == 0 or Path(argument).exists()):
            return [argument, *arguments[:n], *arguments[n + 1 :]]
    return arguments


def value_of(option: str, arguments: list[str]) -> str | None:
    """What follows an option."""
    return arguments[arguments.index(option) + 1] if option in arguments[:-1] else None


def _joined(parts: dict[str, Any]) -> type:
    """The class that tyro makes the flags from, none of them with a prefix."""
    fields: list[Any] = []
    for name, part in parts.items():
        if isinstance(part, type):
            fields.append((name, tyro.conf.OmitArgPrefixes[part]))
        else:
            fields.append((name, tyro.conf.OmitArgPrefixes[type(part)], field(default=part)))
    return make_dataclass("Options", fields)


def check_ranges(options: Any) -> None:
    """tyro checks types; the ranges stand in the annotations and are msgspec's to check."""
    for name in options.__struct_fields__:
        value = getattr(options, name)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            annotation = next(f.type for f in msgspec.structs.fields(options) if f.name == name)
            try:
                msgspec.convert(value, annotation)
            except msgspec.ValidationError as problem:
                sentence = str(problem).removeprefix("Expected ")
                raise UserError(f"--{name.replace('_', '-')} {value}: expected {sentence}") from problem
