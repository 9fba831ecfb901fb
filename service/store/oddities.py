"""Documents that this service does not write, for a hand or a script did.

None of them may stop the line: what cannot be read is passed over, counted and named.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson.errors import BSONError

from service.bson.fields import Fields
from service.observability import MEMBERS_UNREADABLE

logger = logging.getLogger(__name__)

# A member of a thread is met at every refresh, and named once.
MAX_NAMED = 1000
_TEXTS = ("contact_id", "created_by", "sender", "updated_by", "user_id")
_named: OrderedDict[tuple[object, object], None] = OrderedDict()


def decode_some(fields: Fields, document: bytes) -> dict[str, Any]:
    """These fields of a document, none where one of them cannot be decoded."""
    try:
        return fields.decode(document)
    except (BSONError, ValueError, OverflowError):
        return {}


def is_email(fields: Mapping[str, Any]) -> bool:
    """Whether these are fields of an email as this service stores it, as far as a thread asks."""
    return (
        isinstance(fields.get("id"), str)
        and isinstance(fields.get("activity_at"), datetime)
        and isinstance(fields.get("date_updated"), datetime)
        and all(isinstance(fields.get(name), str | None) for name in _TEXTS)
    )


def note_unreadable(organization_id: object, id_: object) -> None:
    """A member of a thread was passed over."""
    MEMBERS_UNREADABLE.inc()
    if (organization_id, id_) in _named:
        return
    _named[organization_id, id_] = None
    if len(_named) > MAX_NAMED:
        _named.popitem(last=False)
    logger.warning(
        "a member of a thread cannot be read, and is passed over",
        extra={"organization_id": organization_id, "id": id_},
    )
