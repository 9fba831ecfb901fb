"""Under which ids documents are stored (design 3).

| document                   | stored `id`        | `_id`                                |
| -------------------------- | ------------------ | ------------------------------------ |
| activity, delete marker    | the activity's     | `{organization_id}!{id}`             |
| thread, empty thread       | `{id}!thread`      | `{organization_id}!{id}!thread`      |
| what an overlay event says | `{id}!overlay`     | `{organization_id}!{id}!overlay`     |

An id of contract 1.2 cannot hold `!`: so tenants are apart, and a thread is known apart from an
activity of its id. `!` sorts before every character that an id can hold: so stored ids have the order
of contract 3.2, inside an organization.
"""

from typing import NamedTuple

THREAD_SUFFIX = "!thread"


class ThreadKey(NamedTuple):
    """Which thread of which organization."""

    organization_id: str
    id: str

    @property
    def stored_id(self) -> str:
        return self.id + THREAD_SUFFIX


def to_key(organization_id: str, stored_id: str) -> str:
    """The `_id` of a document: tenants are apart by construction."""
    return f"{organization_id}!{stored_id}"
