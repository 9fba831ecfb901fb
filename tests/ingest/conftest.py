"""A consumer group on fresh topics and a fresh database."""

import pytest

pytest.register_assert_rewrite("tests.ingest.group")

from service.store.mongo import Mongo  # noqa: E402 the rewriting must be asked for first
from tests.conftest import Topics  # noqa: E402 likewise
from tests.ingest.group import Group  # noqa: E402 likewise


@pytest.fixture
def group(topics: Topics, mongo: Mongo) -> Group:
    return Group(topics, mongo)
