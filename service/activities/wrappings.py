"""What other tools put around an event (contract 1.2)."""

from typing import Any, NamedTuple

_FRAME_MARK = 0
_FRAME_SIZE = 5  # the mark and the four bytes of a schema's id


class Wrapping(NamedTuple):
    """An object that has both keys, and with `is_exact` no others, holds the event as `content`."""

    name: str
    mark: str
    content: str
    is_exact: bool = False

    def holds(self, content: dict[str, Any]) -> bool:
        is_exact = content.keys() == {self.mark, self.content}
        return self.content in content and (is_exact or not self.is_exact)


WRAPPINGS = (
    Wrapping("Kafka Connect's JSON converter", "schema", "payload", is_exact=True),
    Wrapping("a CloudEvent in structured mode", "specversion", "data"),
    Wrapping("a webhook body", "subscription_id", "event"),
)


def without_frame(value: bytes) -> bytes:
    """The JSON behind the frame that serializers of a schema registry put before it."""
    if len(value) > _FRAME_SIZE and value[0] == _FRAME_MARK:
        return value[_FRAME_SIZE:]
    return value


def unwrapped(content: Any) -> Any:
    """What is inside the wrappings, of which each is taken off once, in their order."""
    for wrapping in WRAPPINGS:
        if not isinstance(content, dict):
            break
        if wrapping.mark in content and wrapping.holds(content):
            content = content[wrapping.content]
    return content
