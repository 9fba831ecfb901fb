"""The reference page's files, as any browser may have them (contract 3.1)."""

import re
from collections.abc import Mapping

import pytest

from service.api.pages import REFERENCE_PATH, read_reference
from service.store.mongo import Mongo
from tests.api.conftest import Api, serving

PAGE = read_reference()


async def fetch(api: Api, path: str, method: str = "GET") -> tuple[int, Mapping[str, str], bytes]:
    async with api.session.request(method, api.url + path) as response:
        return response.status, response.headers, await response.read()


@pytest.mark.parametrize("path", [REFERENCE_PATH, f"{REFERENCE_PATH}/"])
async def test_the_reference_needs_no_key(api: Api, path: str) -> None:
    status, headers, body = await fetch(api, path)

    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "private, no-cache"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert not re.search(rb"<script(?![^>]*src=)|<style|style=|\son\w+=|https?://", body)


async def test_its_files_are_there_and_are_kept(api: Api) -> None:
    _, _, page = await fetch(api, f"{REFERENCE_PATH}/")
    folder = f"{REFERENCE_PATH}/{PAGE.version}/"

    assert set(re.findall(rf'"{folder}([^"]+)"', page.decode())) == set(PAGE.contents)
    for name, content in PAGE.contents.items():
        status, headers, body = await fetch(api, folder + name)
        assert (status, body) == (200, content)
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_the_reference_may_be_left_out(mongo: Mongo) -> None:
    async with serving(mongo, docs_page=False) as api:
        assert (await fetch(api, f"{REFERENCE_PATH}/"))[0] == 401
        assert (await api.ask_raw(f"{REFERENCE_PATH}/")).status == 404
