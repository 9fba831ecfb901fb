import pytest
from pydantic import SecretStr

from service.errors import StartError
from service.settings import MongoSettings
from service.store.mongo import connect


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://ada:one/s3cret@localhost:27017/",
        "mongodb://ada:one?s3cret=1@localhost:27017/",
        "mongodb://ada:one%40s3cret/",
        "mongodb://ada:one@s3cret@localhost:27017/",
        "mongodb://ada:s3cret",
        "ada:s3cret@localhost",
    ],
)
async def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(StartError) as raised:
        async with connect(MongoSettings(url=SecretStr(url))):
            pass

    assert str(raised.value).startswith("ACTIVITY_MONGO_URL: ")
    assert "s3cret" not in str(raised.value)


async def test_an_option_that_is_none_is_named() -> None:
    url = SecretStr("mongodb://ada:s3cret@localhost:27017/?journalled=true")

    with pytest.raises(StartError, match=r"ACTIVITY_MONGO_URL: .*journalled"):
        async with connect(MongoSettings(url=url)):
            pass
