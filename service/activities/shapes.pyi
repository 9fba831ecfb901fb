from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, Self, final

from typing_extensions import disjoint_base

@disjoint_base
class Shape:
    def fits(self, value: Any) -> bool: ...

@final
class Nothing(Shape): ...

@final
class Exactly(Shape):
    def __new__(cls, type_: type) -> Self: ...

@final
class Word(Shape):
    def __new__(cls, words: Iterable[str]) -> Self: ...

@final
class Characters(Shape):
    def __new__(cls, allowed: Container[str], at_most: int) -> Self: ...

@final
class Text(Shape):
    def __new__(cls, matches: Callable[[str], Any]) -> Self: ...

@final
class Nullable(Shape):
    def __new__(cls, shape: Shape) -> Self: ...

@final
class AnyOf(Shape):
    def __new__(cls, shapes: Iterable[Shape]) -> Self: ...

@final
class Items(Shape):
    def __new__(cls, shape: Shape) -> Self: ...

@final
class Values(Shape):
    def __new__(cls, shape: Shape) -> Self: ...

@final
class Fields(Shape):
    def __new__(cls, shapes: Mapping[str, Shape], *, required: Iterable[str]) -> Self: ...
