"""A new filter is one row of the parameters, and one of the indexes where it needs no lead."""

from collections.abc import Iterator

import pytest

from docs.tables import own_lists
from service.api import components
from service.api.openapi import build_document
from service.listing import parameters
from service.listing.parameters import PARAMETERS, Form, Parameter
from service.store import indexes
from service.store.indexes import INDEXES, IndexDefinition
from service.store.mongo import Mongo
from service.store.plans import to_finds
from tests.factories import activity, event, record
from tests.store.listing import Listing, apply

ROW = Parameter(
    "phone", Form.TEXTS, "Of this number.", "+351210000177", field="phone", own_list="Call"
)
INDEX = IndexDefinition(
    "phone",
    (("organization_id", 1), ("_type", 1), ("phone", 1), ("date_created", -1), ("id", -1)),
    only={"_type": "Call"},
)


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both rows in their tables, before the indexes of the database are made."""

    def forget() -> None:
        parameters.parameters_of.cache_clear()
        parameters.condition_fields.cache_clear()

    monkeypatch.setattr(parameters, "PARAMETERS", (*PARAMETERS, ROW))
    monkeypatch.setattr(components, "PARAMETERS", (*PARAMETERS, ROW))
    monkeypatch.setattr(indexes, "INDEXES", (*INDEXES, INDEX))
    forget()
    yield
    monkeypatch.undo()
    forget()


async def test_a_row_more_is_a_filter_more(mongo: Mongo) -> None:
    calls = [activity("Call", id=f"acti_{phone}", phone=phone) for phone in ("112", "911")]
    await apply(mongo, [record(event(call)) for call in calls])

    listing = Listing(mongo)
    assert await listing.ids(("phone", "911"), own="Call") == ["acti_911"]
    assert [find.hint for find in to_finds(listing.parse([("phone", "911")], own="Call"))] == [
        "phone"
    ]


def test_a_row_more_is_described() -> None:
    assert "'Of this number.'" in str(build_document())
    assert "| `/activity/call/` | `Call` | `phone` |" in own_lists()
