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
    for _, mark, inside, is_exact in WRAPPINGS:
        if (
            isinstance(content, dict)
            and mark in content
            and inside in content
            and not (is_exact and len(content) > 2)
        ):
            content = content[inside]
    return content
