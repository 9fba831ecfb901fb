from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, final

class Shape:
    def fits(self, value: Any) -> bool: ...

@final
class Nothing(Shape): ...

@final
class Exactly(Shape):
    def __init__(self, type_: type) -> None: ...

@final
class Word(Shape):
    def __init__(self, words: Iterable[str]) -> None: ...

@final
class Characters(Shape):
    def __init__(self, allowed: Container[str], at_most: int) -> None: ...

@final
class Text(Shape):
    def __init__(self, matches: Callable[[str], Any]) -> None: ...

@final
class Nullable(Shape):
    def __init__(self, shape: Shape) -> None: ...

@final
class AnyOf(Shape):
    def __init__(self, shapes: Iterable[Shape]) -> None: ...

@final
class Items(Shape):
    def __init__(self, shape: Shape) -> None: ...

@final
class Values(Shape):
    def __init__(self, shape: Shape) -> None: ...

@final
class Fields(Shape):
    def __init__(self, shapes: Mapping[str, Shape], *, required: Iterable[str]) -> None: ...
