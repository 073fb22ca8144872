"""Which views are held out: options over the input's split over every eighth."""

import numpy as np
import pytest

from recon.errors import UserError
from recon.inputs import View, Views
from recon.split import split
from render.cameras import Camera

CAMERA = Camera(np.eye(4), np.eye(3), 4, 3)


def views(count: int, held_out: tuple[int, ...] | None = None) -> Views:
    def own(index: int) -> bool | None:
        return None if held_out is None else index in held_out

    return Views(tuple(View(f"photos/{n:02d}.jpg", CAMERA, np.zeros, held_out=own(n)) for n in range(count)))


def held_out(found: Views) -> list[int]:
    return [int(view.name[7:9]) for view in found.views if view.held_out]


def names(found: Views) -> list[int]:
    return [int(view.name[7:9]) for view in found.views]


def test_every_eighth_where_nothing_is_said_and_none_of_few():
    assert held_out(split(views(20))) == [0, 8, 16]
    assert held_out(split(views(7))) == []
    assert all(view.held_out is False for view in split(views(7)).views)


def test_the_inputs_own_split_wins_over_every_eighth():
    assert held_out(split(views(20, (3, 4)))) == [3, 4]
    assert held_out(split(views(20, ()))) == []


def test_options_win_over_both():
    given = views(20, (3, 4))
    assert held_out(split(given, test="1,photos/05.jpg")) == [1, 5]
    assert len(split(given, test="1,photos/05.jpg").views) == 20
    assert held_out(split(given, train="0,1,2")) == list(range(3, 20))
    both = split(given, train="7,photos/02.jpg", test="0")
    assert names(both) == [0, 2, 7] and held_out(both) == [0]


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (None, "99", "there is no view 99; give indices from 0 to 19"),
        (None, "photos/99.jpg", "there is no view photos/99.jpg"),
        ("1,2", "2", "photos/02.jpg is listed in --train-views too"),
        (None, ",".join(map(str, range(20))), "leave some to train on"),
        (None, " , ", "names no view"),
        ("-1", None, "there is no view -1"),
    ],
)
def test_a_mistake_is_named(train, test, said):
    with pytest.raises(UserError, match=said):
        split(views(20), train, test)
