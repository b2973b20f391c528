"""What has a shared equality, hash and text behaves as if attrs had made them."""

from __future__ import annotations

from unittest.mock import ANY

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.value import Changing, Value


@attrs.frozen(eq=False, repr=False)
class Shared(Value):
    turn: int
    text: str = ""
    key: str = attrs.field(default="", repr=False)
    asked_at: float = attrs.field(default=0.0, eq=False)


@attrs.frozen
class Own:
    turn: int
    text: str = ""
    key: str = attrs.field(default="", repr=False)
    asked_at: float = attrs.field(default=0.0, eq=False)


@attrs.define(eq=False, repr=False)
class Moving(Changing):
    turn: int
    text: str = ""


@attrs.frozen(eq=False, repr=False)
class Bare(Value):
    pass


class Pressed(Bare):
    __slots__ = ()


class Released(Bare):
    __slots__ = ()


FIELDS = st.tuples(
    st.integers(0, 1), st.sampled_from(["", "a"]), st.sampled_from(["", "sk"]), st.sampled_from([0, 0.5])
)


@given(FIELDS, FIELDS)
def test_it_is_as_attrs_makes_it(one: tuple[int, str, str, float], other: tuple[int, str, str, float]) -> None:
    equal = Own(*one) == Own(*other)
    assert (Shared(*one) == Shared(*other)) is equal and (Shared(*one) != Shared(*other)) is not equal
    assert not equal or hash(Shared(*one)) == hash(Shared(*other))
    assert repr(Shared(*one)) == repr(Own(*one)).replace("Own", "Shared")
    assert attrs.evolve(Shared(*one), turn=other[0]) == Shared(other[0], *one[1:])


def test_what_says_all_by_its_class_is_told_apart() -> None:
    assert Pressed() == Pressed() != Released()
    assert len({Pressed(), Pressed(), Released()}) == 2
    assert repr(Pressed()) == "Pressed()"


def test_others_may_know_better() -> None:
    assert Shared(1) == ANY and Shared(1) != (1, "", "", 0.0)


def test_what_changes_is_compared_as_it_is_now_and_has_no_hash() -> None:
    moving = Moving(1)
    assert moving == Moving(1) != Moving(2)
    moving.turn = 2
    assert moving == Moving(2) and repr(moving) == "Moving(turn=2, text='')"
    with pytest.raises(TypeError):
        hash(moving)
