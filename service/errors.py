"""What can go wrong, as one tree.

ActivityError
├── StartError                 a process cannot start: one line, exit status 1
├── Halted                     a process stops itself: one line, exit status 1
├── Rejected                   a record that can never be applied (contract 1.6)
├── RequestError               an answer other than 200; each class is one row of contract 3.6
│   ├── InvalidRequest         400, names its parameter
│   │   └── UnknownParameters  400, names each of them
│   ├── Unauthorized           401
│   ├── NotFound               404
│   ├── MethodNotAllowed       405
│   ├── NotAcceptable          406
│   ├── Gone                   410
│   ├── BodyTooLarge           413
│   ├── UnknownCoding          415
│   ├── RateLimited            429
│   ├── Overloaded             503
│   └── TooSlow                504, names what to narrow
└── StoreError
    ├── StoreUnavailable       not now: MongoDB is away, asking again later is right (503)
    │   └── LoginRefused       and it is the user or password that it refuses
    ├── StoreTimeout           a query ran past its time limit (504)
    └── FeedLost               the feed does not reach back so far (410)
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Self

RejectionCode = Literal[
    "invalid_json",
    "invalid_event",
    "invalid_activity",
    "unknown_type",
    "type_mismatch",
    "id_mismatch",
    "organization_mismatch",
    "too_large",
    "batch_too_large",
    "refused",
]


Path = tuple[str | int, ...]
"""The way from the top of an event to a value: keys and places in lists."""

MAX_FAULTS_TOLD = 20
_MAX_STEP_CHARACTERS = 100


def to_pointer(path: Path) -> str:
    """A path as a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def to_words(path: Path, reason: str) -> str:
    """As in `data.users[1]: a string`, and nothing that a terminal would obey."""
    place = ""
    for step in path:
        shown = str(step)[:_MAX_STEP_CHARACTERS]
        place += f"[{step}]" if isinstance(step, int) else f".{shown}" if place else shown
    text = f"{place}: {reason}" if place else reason
    return "".join(one if one.isprintable() else "?" for one in text)


class Fault(NamedTuple):
    """One thing that is wrong with a record: the code it is rejected with, where, and why.

    The reason never holds a value of the record but ids and the `object_type`.
    """

    code: RejectionCode
    path: Path
    reason: str

    @property
    def pointer(self) -> str:
        """The path as a JSON pointer (RFC 6901), from the event; `""` is the whole of it."""
        return to_pointer(self.path)

    def __str__(self) -> str:
        return to_words(self.path, self.reason)


class ActivityError(Exception):
    """Base of every error that this project raises on purpose."""


class StartError(ActivityError):
    """A process cannot start. The text is the one line that its operator reads."""


class Halted(ActivityError):
    """A process stops the line of its own accord. The text is what its operator must know."""


class Rejected(ActivityError):
    """A record that can never be applied, with its code (contract 1.6).

    `faults` is all that is wrong with it, in the order of the codes; `message` tells of the first
    twenty, in one line. `organization_id` and `event_id` are what the record said of itself, as far
    as it could be read.
    """

    def __init__(
        self,
        code: RejectionCode,
        message: str,
        *,
        faults: Sequence[Fault] = (),
        organization_id: str | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code: RejectionCode = code
        self.message = message
        self.faults = tuple(faults) or (Fault(code, (), message),)
        self.organization_id = organization_id
        self.event_id = event_id

    @classmethod
    def because_of(cls, *faults: Fault) -> Self:
        """Its code is that of the first."""
        told = "; ".join(map(str, faults[:MAX_FAULTS_TOLD]))
        more = len(faults) - MAX_FAULTS_TOLD
        message = f"{told}; and {more} more" if more > 0 else told
        return cls(faults[0].code, message, faults=faults)


class RequestError(ActivityError):
    """A request that is not answered with 200 (contract 3.6)."""

    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(RequestError):
    """A parameter that cannot be honoured; the text names it and says what would be accepted."""

    status = 400

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter

    @property
    def field_errors(self) -> Mapping[str, str]:
        """What is wrong, by parameter."""
        return {self.parameter: self.message} if self.parameter else {}


class UnknownParameters(InvalidRequest):
    """Parameters that do not exist, in a request that asked to be told (`Prefer: handling=strict`)."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__(" ".join(texts.values()), parameter=next(iter(texts)))
        self._texts = texts

    @property
    def field_errors(self) -> Mapping[str, str]:
        return self._texts


class Unauthorized(RequestError):
    """No API key, or one that is not known."""

    status = 401


class NotFound(RequestError):
    """No such path, or no such activity in the caller's organization."""

    status = 404


class MethodNotAllowed(RequestError):
    """Anything but GET and HEAD: writing happens through Kafka only."""

    status = 405


class NotAcceptable(RequestError):
    """The answer cannot have the form that is asked for."""

    status = 406


class Gone(RequestError):
    """What a follower asks to go on from is not kept any more."""

    status = 410


class BodyTooLarge(RequestError):
    """A `_params` body over its cap."""

    status = 413


class UnknownCoding(RequestError):
    """A `_params` body in a content coding that is not known here."""

    status = 415


class RateLimited(RequestError):
    """Over a rate: the key's, or that of an address with keys that nobody knows."""

    status = 429


class Overloaded(RequestError):
    """The service has as much work as it can finish in time; it would be this one's turn after
    about `retry_after_seconds`."""

    status = 503

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TooSlow(RequestError):
    """A query ran past its time limit; the text names what would make it faster."""

    status = 504


class StoreError(ActivityError):
    """The store did not do what it was asked."""


class StoreUnavailable(StoreError):
    """MongoDB is away or refuses for now. Nothing is known of the operation; repeat it later."""


class LoginRefused(StoreUnavailable):
    """MongoDB refuses the user or the password. New ones are read when a process starts."""


class StoreTimeout(StoreError):
    """A query ran past its time limit."""


class FeedLost(StoreError):
    """The feed does not reach back so far. Asking again does not mend it; beginning anew does."""
