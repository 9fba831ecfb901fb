"""The reference page's files, as any browser may have them (contract 3.1)."""

import re

import pytest

from service.api.pages import REFERENCE_PATH, read_reference
from service.store.mongo import Mongo
from tests.api.conftest import Api, serving

PAGE = read_reference()


@pytest.mark.parametrize("path", [REFERENCE_PATH, f"{REFERENCE_PATH}/"])
async def test_the_reference_needs_no_key(api: Api, path: str) -> None:
    reply = await api.fetch(path)
    headers, body = reply.headers, reply.body

    assert reply.status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "private, no-cache"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert not re.search(rb"<script(?![^>]*src=)|<style|style=|\son\w+=|https?://", body)


async def test_its_files_are_there_and_are_kept(api: Api) -> None:
    page = (await api.fetch(f"{REFERENCE_PATH}/")).body
    folder = f"{REFERENCE_PATH}/{PAGE.version}/"

    assert set(re.findall(rf'"{folder}([^"]+)"', page.decode())) == set(PAGE.contents)
    for name, content in PAGE.contents.items():
        reply = await api.fetch(folder + name)
        assert (reply.status, reply.body) == (200, content)
        assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_the_reference_may_be_left_out(mongo: Mongo) -> None:
    async with serving(mongo, docs_page=False) as api:
        assert (await api.fetch(f"{REFERENCE_PATH}/")).status == 401
        assert (await api.ask_raw(f"{REFERENCE_PATH}/")).status == 404
