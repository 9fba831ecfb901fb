"""The store's tests run on both drivers."""

import pytest

from tests.conftest import Driver


@pytest.fixture(params=["pymongo", "motor"])
def mongo_driver(request: pytest.FixtureRequest) -> Driver:
    driver: Driver = request.param
    return driver
