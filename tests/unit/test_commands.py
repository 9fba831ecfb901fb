"""The watch over the store's commands says what is wrong with one."""

from typing import Any

import pytest

from tests.commands import violations

OWN = {"organization_id": "orga_1", "_type": "Note"}
OWN_ID = {"_id": "a", "organization_id": "orga_1"}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("find", {"filter": OWN, "hint": "_id_"}),
        ("aggregate", {"pipeline": [{"$match": OWN}], "hint": "_id_"}),
        ("insert", {"documents": [OWN_ID]}),
        ("update", {"updates": [{"q": OWN_ID, "u": {}, "hint": "_id_"}]}),
        ("getMore", {"getMore": 1, "collection": "activities"}),
    ],
)
def test_a_lawful_command_is_let_pass(name: str, command: dict[str, Any]) -> None:
    assert list(violations(name, command)) == []


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("find", {"filter": OWN}),
        ("find", {"filter": {}, "hint": "_id_"}),
        ("find", {"filter": OWN_ID, "hint": "_id_"}),
        ("aggregate", {"pipeline": [], "hint": "_id_"}),
        ("aggregate", {"pipeline": [{"$match": OWN}]}),
        ("insert", {"documents": [{"_id": "a"}]}),
        ("update", {"updates": [{"q": {"_id": "a"}, "u": {}, "hint": "_id_"}]}),
        ("update", {"updates": [{"q": OWN_ID, "u": {}}]}),
        ("delete", {"deletes": [{"q": {"organization_id": "orga_1"}, "hint": "_id_"}]}),
        ("count", {"query": OWN}),
    ],
)
def test_an_unlawful_command_is_told(name: str, command: dict[str, Any]) -> None:
    assert len(list(violations(name, command))) == 1
