"""Equality, hash and text of small things. PURE.

Of its own attrs writes and compiles these three for every class; here they are methods that all share, with
`@frozen(eq=False, repr=False)` or `@define(eq=False, repr=False)` on the class: that saves 0.2 ms of a start for each,
and there are a hundred.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, ClassVar


class Value:
    """What doesn't change. Equal if of one class and equal in all fields but those with `eq=False`; those with
    `repr=False` are not told."""

    __slots__ = ()
    __attrs_attrs__: ClassVar[tuple[Any, ...]]
    _compared: ClassVar[Any]

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        names = [field.name for field in cls.__attrs_attrs__ if field.eq]
        cls._compared = attrgetter(*names or ("__class__",))

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return bool(self._compared(self) == self._compared(other))

    def __hash__(self) -> int:
        return hash((self.__class__, self._compared(self)))

    def __repr__(self) -> str:
        told = (f"{field.name}={getattr(self, field.name)!r}" for field in self.__attrs_attrs__ if field.repr)
        return f"{self.__class__.__qualname__}({', '.join(told)})"


class Changing(Value):
    """Equal and told as a `Value` is; what changes has no hash."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]
