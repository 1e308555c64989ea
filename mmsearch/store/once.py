"""Attributes that are costly to compute, computed when they are first asked for."""

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")


class computed_once(cached_property[T]):
    """A ``cached_property`` that threads wait for, as it was before Python 3.12.

    Without the lock each of many searching threads would load its own copy of a field.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        super().__init__(function)
        self._computing = threading.RLock()

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | T:
        with self._computing:
            return super().__get__(instance, owner)
