"""Email threads as pure functions (contract 2): nothing here reads or writes anything."""

from collections.abc import Iterable, Mapping
from typing import Any


def derive_thread_id(organization_id: str, email: Mapping[str, Any]) -> str:
    """The id of the thread that `email` (an activity filled as contract 1.3 says) belongs to."""
    raise NotImplementedError


def to_preview(email: Mapping[str, Any]) -> dict[str, Any]:
    """The 17 keys of an EmailPreview."""
    raise NotImplementedError


def to_thread(members: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The derived fields of the thread of these live emails, or None where there are none."""
    raise NotImplementedError
