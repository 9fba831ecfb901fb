"""The timeline page's files, as any browser may have them (contract 3.8)."""

import re

import pytest

from service.api.pages import TIMELINE_PATH, read_timeline
from service.store.mongo import Mongo
from tests.api.conftest import Api, serving

# What is asked for without a key, by somebody who need not be a friend.
MAX_BYTES = 60 * 1024
PAGE = read_timeline()


@pytest.mark.parametrize("path", [TIMELINE_PATH, f"{TIMELINE_PATH}/"])
async def test_the_page_needs_no_key_and_holds_none(api: Api, path: str) -> None:
    reply = await api.fetch(path)
    headers, body = reply.headers, reply.body

    assert reply.status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "private, no-cache"
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert not re.search(rb"<script(?![^>]*src=)|<style|style=|\son\w+=|https?://", body)


async def test_every_file_that_one_names_is_there_and_is_kept(api: Api) -> None:
    page = (await api.fetch(f"{TIMELINE_PATH}/")).body
    folder = f"{TIMELINE_PATH}/{PAGE.version}/"
    named = set(re.findall(rf'"{folder}([^"]+)"', page.decode()))
    for content in PAGE.contents.values():
        named.update(re.findall(r'from "\./([^"]+)"', content.decode()))

    assert named == set(PAGE.contents)
    for name in named:
        reply = await api.fetch(folder + name)
        assert (reply.status, reply.body) == (200, PAGE.contents[name])
        assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_file_of_another_version_is_not_kept(api: Api) -> None:
    reply = await api.fetch(f"{TIMELINE_PATH}/0123456789abcdef/main.js")

    assert (reply.status, reply.body) == (200, PAGE.contents["main.js"])
    assert reply.headers["Cache-Control"] == "private, no-cache"


async def test_what_is_no_file_of_the_page_is_nothing(api: Api) -> None:
    for path in ("../pages.py", "/main.js/x", f"/{PAGE.version}/", f"/{PAGE.version}/x.js"):
        reply = await api.fetch(TIMELINE_PATH + path)
        assert reply.status == 401

    assert (await api.fetch(f"{TIMELINE_PATH}/", method="POST")).status == 405


async def test_the_page_may_be_left_out(mongo: Mongo) -> None:
    async with serving(mongo, timeline_page=False) as api:
        assert (await api.fetch(f"{TIMELINE_PATH}/")).status == 401
        assert (await api.ask_raw(f"{TIMELINE_PATH}/")).status == 404


def test_the_page_is_small_and_of_this_package_alone() -> None:
    contents = [PAGE.index, *PAGE.contents.values()]

    assert sum(map(len, contents)) < MAX_BYTES
    for content in contents:
        hosts = re.findall(rb"https?://[\w.]+", content)
        assert set(hosts) <= {b"http://www.w3.org"}
        assert b"innerHTML" not in content
        assert b"eval(" not in content
