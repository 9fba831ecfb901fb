"""Pages of other origins (contract 3.1, the CORS protocol)."""

from collections.abc import Mapping

from service.store.mongo import Mongo
from tests.api.conftest import Api, Reply, serving

APP = "https://app.example.com"
EXPOSED = {"ETag", "Link", "RateLimit", "Retry-After", "X-Request-Id"}


async def preflight(api: Api, path: str, origin: str = APP) -> Reply:
    """As a browser asks it: without a key."""
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-a"}
    return await api.ask(
        path, method="OPTIONS", headers={"Authorization": "", "Origin": origin, **asked}
    )


def words(headers: Mapping[str, str], name: str) -> set[str]:
    return set(headers[name].split(", "))


def crossing(reply: Reply) -> list[str]:
    return [name for name in reply.headers if name.startswith("Access-Control")]


async def test_by_default_no_page_may_ask(api: Api) -> None:
    for reply in (
        await api.ask("/activity/", headers={"Origin": APP}),
        await preflight(api, "/activity/"),
    ):
        assert reply.status in (200, 204)
        assert not crossing(reply)
        assert "Origin" not in words(reply.headers, "Vary")


async def test_an_allowed_origin_may_ask(mongo: Mongo) -> None:
    async with serving(mongo, cors_origins=(APP,)) as api:
        for path in ("/activity/", "/me/", "/activity/acti_1/", "/nowhere/"):
            asked = await preflight(api, path)
            assert asked.status == 204, path
            assert asked.headers["Access-Control-Allow-Origin"] == APP
            assert words(asked.headers, "Access-Control-Allow-Methods") == {"GET", "HEAD", "POST"}
            assert words(asked.headers, "Access-Control-Allow-Headers") >= {
                "Authorization",
                "If-None-Match",
                "X-TZ-Offset",
            }
            assert "Origin" in words(asked.headers, "Vary")

            reply = await api.ask(path, headers={"Origin": APP})
            assert reply.headers["Access-Control-Allow-Origin"] == APP, path
            assert words(reply.headers, "Access-Control-Expose-Headers") == EXPOSED
            assert "Origin" in words(reply.headers, "Vary")


async def test_an_error_can_be_read_across_origins_too(mongo: Mongo) -> None:
    async with serving(mongo, cors_origins=(APP,)) as api:
        for headers, status in (({"Authorization": "Bearer x"}, 401), ({}, 400)):
            asked = [("_limit", "x")]
            reply = await api.ask("/activity/", asked, headers={"Origin": APP, **headers})

            assert reply.status == status
            assert reply.headers["Access-Control-Allow-Origin"] == APP


async def test_no_other_origin_may_ask(mongo: Mongo) -> None:
    async with serving(mongo, cors_origins=(APP,)) as api:
        for origin in ("https://evil.example.com", f"{APP}.evil.com", "null", f"{APP}:8443", ""):
            for reply in (
                await preflight(api, "/activity/", origin),
                await api.ask("/activity/", headers={"Origin": origin}),
            ):
                assert not crossing(reply), origin
                assert "Origin" in words(reply.headers, "Vary")


async def test_the_document_is_open_to_every_origin(api: Api) -> None:
    asked = await preflight(api, "/openapi.json", "https://anybody.example")
    reply = await api.ask("/openapi.json", headers={"Origin": "https://anybody.example"})

    assert asked.status == 204
    for answer in (asked, reply):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
