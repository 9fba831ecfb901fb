"""What other tools put around an event (contract 1.2)."""

from typing import Any, NamedTuple

_FRAME_MARK = 0
_FRAME_SIZE = 5  # the mark and the four bytes of a schema's id


class Wrapping(NamedTuple):
    """An object that has both keys, and with `is_exact` no others, holds the event as `content`."""

    mark: str
    content: str
    is_exact: bool

    def holds(self, content: dict[str, Any]) -> bool:
        keys = {self.mark, self.content}
        return keys == content.keys() if self.is_exact else keys <= content.keys()


WRAPPINGS = (
    Wrapping("schema", "payload", is_exact=True),  # Kafka Connect's JSON converter
    Wrapping("specversion", "data", is_exact=False),  # a CloudEvent in structured mode
    Wrapping("subscription_id", "event", is_exact=False),  # a webhook body
)


def without_frame(value: bytes) -> bytes:
    """The JSON behind the frame that serializers of a schema registry put before it."""
    if len(value) > _FRAME_SIZE and value[0] == _FRAME_MARK:
        return value[_FRAME_SIZE:]
    return value


def unwrapped(content: Any) -> Any:
    """What is inside the wrappings, of which each is taken off once, in their order."""
    if not isinstance(content, dict):
        return content
    for mark, _, _ in WRAPPINGS:
        if mark in content:
            return _taken_off(content)
    return content


def _taken_off(content: Any) -> Any:
    for wrapping in WRAPPINGS:
        if isinstance(content, dict) and wrapping.holds(content):
            content = content[wrapping.content]
    return content
