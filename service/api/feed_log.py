"""What one process remembers of the feed while somebody follows."""

from collections import deque
from collections.abc import Sequence

from service.listing.event_ids import Place
from service.store.feed import Told

# Of a calm feed that is hours, of one that takes in a backlog seconds.
MAX_REMEMBERED_CHARACTERS = 8 * 1024 * 1024


class FeedLog:
    """The newest place of the feed, and what was told behind an older one."""

    def __init__(self, max_characters: int = MAX_REMEMBERED_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._characters = 0
        self._told: deque[tuple[Place, Told]] = deque()
        self.oldest: bytes | None = None
        self.place = Place(b"", 0)

    def add(self, place: Place, told: Told | None) -> None:
        """`place` is behind what was told."""
        if self.oldest is None:
            self.oldest = place.position
        elif told is not None:
            self._told.append((place, told))
            self._characters += told.size
        self.place = place
        while self._characters > self._max_characters:
            forgotten, gone = self._told.popleft()
            self._characters -= gone.size
            self.oldest = forgotten.position

    def has_room(self, more: Sequence[tuple[Place, Told]]) -> bool:
        """Whether nothing need be forgotten to remember these, too."""
        size = self._characters + sum(told.size for _, told in more)
        return size <= self._max_characters

    def prepend(self, oldest: bytes, told: Sequence[tuple[Place, Told]]) -> None:
        """Remember what lies between `oldest` and what is remembered."""
        self._told.extendleft(reversed(told))
        self._characters += sum(one.size for _, one in told)
        self.oldest = oldest

    def reaches(self, position: bytes) -> bool:
        """Whether everything behind this position is remembered. Positions of MongoDB compare as
        bytes do."""
        return self.oldest is not None and self.oldest <= position

    def since(self, position: bytes) -> Sequence[tuple[Place, Told]] | None:
        """What was told behind a position, each with the place behind it; None where it does not
        reach so far back."""
        if not self.reaches(position):
            return None
        return [(place, told) for place, told in self._told if place.position > position]
