"""Which views are trained on and which are held out to be compared with.

What the options name comes first, then the input's own split; where there is neither, every `EVERY`-th view is held
out, as is the custom since mip-NeRF 360 (Barron et al. 2022).
"""

from __future__ import annotations

from dataclasses import replace

from recon.errors import UserError
from recon.inputs import Views

EVERY = 8
FEWEST = 8  # views, of which one may be held out


def split(views: Views, train: str | None = None, test: str | None = None) -> Views:
    """The views, each with `held_out` true or false.

    `train` and `test` list views by their index in the sorted order (from 0) or by their name, with commas. One of them
    alone leaves the rest to the other; with both, views in neither are left out.

    Raises:
        UserError: a list names a view that is not there, both name the same one, or none is left to train on.
    """
    if train is None and test is None:
        return replace(
            views, views=tuple(replace(v, held_out=h) for v, h in zip(views.views, _own(views), strict=True))
        )
    names = [view.name for view in views.views]
    training = None if train is None else _named("--train-views", train, names)
    testing = set(names) - (training or set()) if test is None else _named("--test-views", test, names)
    training = set(names) - testing if training is None else training
    if both := sorted(training & testing):
        raise UserError(f"--test-views: {both[0]} is listed in --train-views too; a view is for one of them")
    if not training:
        raise UserError("--test-views: names every view; leave some to train on")
    kept = [replace(view, held_out=view.name in testing) for view in views.views if view.name in training | testing]
    return replace(views, views=tuple(kept))


def _own(views: Views) -> list[bool]:
    """The input's split, or every `EVERY`-th of enough views."""
    given = [view.held_out for view in views.views]
    if any(given):
        return [bool(held_out) for held_out in given]
    count = len(given)
    return [count >= FEWEST and index % EVERY == 0 and given[index] is None for index in range(count)]


def _named(option: str, listed: str, names: list[str]) -> set[str]:
    """The views of a list, by their names."""
    found = set()
    for word in filter(None, (word.strip() for word in listed.split(","))):
        if word in names:
            found.add(word)
        elif word.isdecimal() and int(word) < len(names):
            found.add(names[int(word)])
        else:
            last = len(names) - 1
            raise UserError(f"{option}: there is no view {word}; give indices from 0 to {last}, or names as {names[0]}")
    if not found:
        raise UserError(f"{option}: names no view; give indices or names with commas between them")
    return found
