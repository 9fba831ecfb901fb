"""A consumer group on fresh topics and a fresh database."""

import pytest

pytest.register_assert_rewrite("tests.ingest.group")

from consumers import runner  # noqa: E402 the rewriting must be asked for first
from service.store.mongo import Mongo  # noqa: E402 likewise
from tests.conftest import Topics  # noqa: E402 likewise
from tests.ingest.group import Group  # noqa: E402 likewise


@pytest.fixture(autouse=True)
def heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members in this process hear of a rebalance soon; otherwise tests do little but wait for it."""
    monkeypatch.setattr(runner, "HEARTBEAT_SECONDS", 0.2)


@pytest.fixture
def group(topics: Topics, mongo: Mongo) -> Group:
    return Group(topics, mongo)
