"""Paths, methods, headers and bodies (contract 3.1, 3.4, 3.6)."""

import gzip
import json
from itertools import product
from typing import Any

import cramjam
import pytest

from service.api.handlers import OPENAPI_PATH
from service.api.parameters import MAX_BODY_BYTES
from tests.api.conftest import BASE_PATH, Api
from tests.factories import OWN_PATHS, activity, event, record

OVERRIDE = {"X-HTTP-Method-Override": "GET"}


def stored(type_name: str = "Note", **fields: Any) -> bytes:
    """The record that creates one activity."""
    return record(event(activity(type_name, **fields)))


def notes(count: int) -> list[bytes]:
    return [
        stored(id=f"acti_{number}", date_created=f"2026-01-02T10:00:{number:02d}+00:00")
        for number in range(count)
    ]


async def test_every_list_and_activity_answers_with_and_without_its_slash(api: Api) -> None:
    names = [name for name in OWN_PATHS if name != "EmailThread"]
    await api.apply(stored(name, id=f"acti_{name}") for name in names)

    for name in names:
        for slash in ("", "/"):
            path = f"/activity/{OWN_PATHS[name]}{slash}"
            listed = await api.ask(path)
            assert [row["_type"] for row in listed.content["data"]] == [name], path

            path = f"/activity/{OWN_PATHS[name]}/acti_{name}{slash}"
            own = await api.ask(path)
            assert own.content == (await api.ask(f"/activity/acti_{name}{slash}")).content, path
            assert own.content["id"] == f"acti_{name}"
    for slash in ("", "/"):
        assert len((await api.ask(f"/activity{slash}")).content["data"]) == len(names)
        assert (await api.ask(f"/activity/note/acti_Call{slash}")).status == 404


UNKNOWN_PATHS = [
    "/",
    "/api/v1",
    "/api/v1/",
    "/api/v2/activity/",
    "/api/v1/activity//",
    "/api/v1//activity/",
    "/api/v1/activity/note//",
    "/api/v1/activity/note/a/b/",
    "/api/v1/activity/status_change/",
    "/api/v1/activity/notes/acti_1/",
    "/api/v1/me//",
    "/api/v1/lead/",
    "/api/v1/activity/acti_1%00/",
    "/api/v1/activity/%ff/",
    "/api/v1/activity/acti_1%2F/",
    "/api/v1/activity/acti_1!thread/",
    "/api/v1/activity/acti_1%21thread/",
    "/api/v1/activity/orga_1!acti_1/",
    "/api/v1/activity/acti_1%0A/",
    f"/api/v1/activity/{'x' * 129}/",
    "/healthz",
    "/readyz",
    "/metrics",
]


async def test_unknown_paths_are_404_in_the_shape_of_errors(api: Api) -> None:
    await api.apply([stored(id="acti_1")])

    for path in UNKNOWN_PATHS:
        reply = await api.ask_raw(path)

        assert reply.status == 404, path
        assert set(reply.content) == {"error", "errors", "field-errors"}


async def test_how_threads_are_stored_is_nobodys_business(api: Api) -> None:
    await api.apply([stored("Email", id="acti_1", thread_id="conv_1")])

    assert (await api.ask("/activity/conv_1/")).content["_type"] == "EmailThread"
    for path in ("/activity/conv_1!thread/", "/activity/emailthread/conv_1!thread"):
        assert (await api.ask(path)).status == 404


async def test_head_is_get_without_a_body(api: Api) -> None:
    await api.apply(notes(3))

    for path in ("/activity/", "/activity/acti_1", "/me/", "/nowhere", "/openapi.json"):
        got, head = [
            await api.ask(path, [("_limit", "2")], method=method) for method in ("GET", "HEAD")
        ]
        assert (head.status, head.body) == (got.status, b"")
        for name in ("Content-Length", "Content-Type", "Link"):
            assert head.headers.get(name) == got.headers.get(name), (path, name)


async def test_other_methods_are_405_and_name_what_is_allowed(api: Api) -> None:
    paths = ("/activity/", "/activity/acti_1/", "/me", "/openapi.json")
    methods = ("POST", "PUT", "PATCH", "DELETE", "TRACE")
    for path, method in product(paths, methods):
        reply = await api.ask(path, method=method, json={"_params": {}})

        assert reply.status == 405, (path, method)
        assert reply.headers["Allow"] == "GET, HEAD"
        assert set(reply.content) == {"error", "errors", "field-errors"}


async def test_what_is_allowed_is_told_without_a_key(api: Api) -> None:
    for path in ("/activity/", "/activity/note", "/activity/acti_1/", "/me", "/openapi.json"):
        reply = await api.ask(path, method="OPTIONS", headers={"Authorization": ""})

        assert (reply.status, reply.body) == (204, b""), path
        assert reply.headers["Allow"] == "GET, HEAD"
        assert not {"Content-Type", "Content-Length", "ETag"} & set(reply.headers)
    assert (await api.ask("/nowhere", method="OPTIONS")).status == 404


async def test_unknown_paths_are_404_before_405(api: Api) -> None:
    assert (await api.ask("/nowhere/", method="DELETE")).status == 404


async def test_me_is_what_clients_ask_first(api: Api) -> None:
    reply = await api.ask("/me/")

    assert set(reply.content) == {"id", "name", "organizations"}
    assert reply.content["organizations"] == [{"id": "orga_1", "name": "orga_1"}]
    assert reply.content["name"] == "tests"


async def test_the_document_needs_no_key(api: Api) -> None:
    reply = await api.ask_raw(OPENAPI_PATH, headers={"Authorization": ""})

    assert reply.status == 200
    assert reply.content["openapi"].startswith("3.1")
    assert (await api.ask_raw(f"{OPENAPI_PATH}/", headers={"Authorization": ""})).status == 200


async def test_every_answer_carries_a_request_id(api: Api) -> None:
    for path in ("/activity/", "/nowhere", "/openapi.json"):
        own = (await api.ask(path)).headers["X-Request-Id"]
        assert len(own) == 24
        assert (await api.ask(path)).headers["X-Request-Id"] != own

        sent = {"X-Request-Id": "trace-1:2/3"}
        assert (await api.ask(path, headers=sent)).headers["X-Request-Id"] == "trace-1:2/3"


async def test_a_strange_request_id_is_not_repeated(api: Api) -> None:
    for sent in ("x" * 129, "a b", "<script>", "é", ""):
        reply = await api.ask("/me/", headers={"X-Request-Id": sent})

        assert reply.headers["X-Request-Id"] != sent


async def test_no_answer_tells_what_it_runs_on(api: Api) -> None:
    reply = await api.ask("/activity/")

    assert reply.headers["Server"] == "activity-service"


async def test_who_is_draining_keeps_no_connection(api: Api) -> None:
    assert "Connection" not in (await api.ask("/me/")).headers

    api.readiness.is_draining = True

    assert (await api.ask("/me/")).headers["Connection"] == "close"


async def test_a_content_type_on_a_get_is_ignored(api: Api) -> None:
    for content_type in ("application/json", "nonsense", "multipart/form-data"):
        reply = await api.ask("/activity/", headers={"Content-Type": content_type}, data=b"{")
        assert reply.status == 200


async def test_links_lead_through_everything(api: Api) -> None:
    await api.apply(notes(7))

    reply = await api.ask("/activity/", [("_limit", "3"), ("_skip", "1"), ("other", 'a "b">&+=é')])

    assert reply.next is not None
    assert reply.next.startswith(
        f"{BASE_PATH}/activity/?_limit=3&other=a+%22b%22%3E%26%2B%3D%C3%A9"
    )
    assert "_skip" not in reply.next
    following = await api.ask_raw(reply.next)
    assert [row["id"] for row in following.content["data"]] == ["acti_2", "acti_1", "acti_0"]
    assert following.next is None
    assert following.content["has_more"] is False


async def test_the_link_of_an_own_list_stays_on_it(api: Api) -> None:
    await api.apply(notes(3))

    reply = await api.ask("/activity/note", [("_limit", "1")])

    assert reply.next is not None
    assert reply.next.startswith(f"{BASE_PATH}/activity/note/?_limit=1&_cursor=")


async def test_a_limit_of_zero_has_no_link(api: Api) -> None:
    await api.apply(notes(1))

    reply = await api.ask("/activity/", [("_limit", "0")])

    assert reply.content == {"has_more": True, "data": []}
    assert reply.next is None


# --- strict handling ----------------------------------------------------------------------------

STRICT = {"Prefer": "handling=strict"}


async def test_a_strict_request_is_told_its_slips(api: Api) -> None:
    await api.apply(notes(1))

    for path in ("/activity/", "/activity/note/", "/activity/acti_0/", "/me/"):
        asked = [("leadid", "lead_1"), ("limit", "5")]
        refused = await api.ask(path, asked, headers=STRICT)
        lenient = await api.ask(path, asked, headers={"Prefer": "handling=lenient"})

        assert refused.status == 400, path
        assert list(refused.content["field-errors"]) == ["leadid", "limit"]
        assert refused.headers["Preference-Applied"] == "handling=strict"
        assert lenient.status == 200
        assert "Preference-Applied" not in lenient.headers


async def test_a_strict_request_without_slips_is_answered(api: Api) -> None:
    for path in ("/activity/", "/me/"):
        reply = await api.ask(path, headers=STRICT)

        assert reply.status == 200
        assert reply.headers["Preference-Applied"] == "handling=strict"


async def test_a_body_is_held_to_strictness_too(api: Api) -> None:
    for params, status in (({"leadid": "lead_1"}, 400), ({"leadid": None}, 200)):
        headers = OVERRIDE | STRICT
        sent = {"_params": params}
        reply = await api.ask("/activity/", method="POST", headers=headers, json=sent)

        assert reply.status == status


# --- `_params` ----------------------------------------------------------------------------------


async def post(api: Api, query: str, body: Any) -> Any:
    """The ids that a `_params` POST lists, or the names of the parameters that it refuses."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = f"{BASE_PATH}/activity/{query}"
    reply = await api.ask_raw(path, method="POST", headers=OVERRIDE, data=data)
    if reply.status != 200:
        return reply.status, list(reply.content["field-errors"])
    return [row["id"] for row in reply.content["data"]]


PARAMS: list[tuple[str, Any, Any]] = [
    ("?_limit=1", {}, ["acti_4"]),
    ("?_limit=1", b"", ["acti_4"]),
    ("?_limit=1", {"_params": {}}, ["acti_4"]),
    ("?_limit=1", {"_params": None}, ["acti_4"]),
    ("?_limit=1", {"_params": {"_limit": 2}}, ["acti_4", "acti_3"]),
    ("?_limit=1", {"_params": {"_limit": "2"}, "other": 1}, ["acti_4", "acti_3"]),
    ("?_limit=1&_skip=1", {"_params": {"_limit": None, "_skip": 3}}, ["acti_1", "acti_0"]),
    ("?_limit=1&_cursor=", {"_params": {"_skip": 3}}, ["acti_1"]),
    ("?_limit=1&_cursor=", {"_params": {"_cursor": "x"}}, (400, ["_cursor"])),
    ("", {"_params": {"id__in": ["acti_1", "acti_3"]}}, ["acti_3", "acti_1"]),
    ("?id__in=acti_0", {"_params": {"id__in": "acti_1,acti_3"}}, ["acti_3", "acti_1"]),
    ("?id__in=acti_0", {"_params": {"id__in": []}}, (400, ["id__in"])),
    ("?id__in=acti_0", {"_params": {"id__in": ""}}, (400, ["id__in"])),
    ("?id__in=acti_0", {"_params": {"id__in": [""]}}, (400, ["id__in"])),
    ("?id__in=acti_0", {"_params": {"id__in": None}}, 5),
    ("", {"_params": {"_type": [], "_fields": [], "_limit": 1}}, ["acti_4"]),
    ("?_limit[]=1", {"_params": {"_limit": 1}}, ["acti_4"]),
    ("?_limit[]=1", {}, (400, ["_limit"])),
    ("", {"_params": {"thread_emails": True, "_limit": 1}}, ["acti_4"]),
    ("", {"_params": {"thread_emails": False, "_limit": 1}}, ["acti_4"]),
    ("?_fields[0]=id&_limit=1", {"_params": {"_fields": ["id", "note"]}}, ["acti_4"]),
    ("", {"_params": {"_limit": 1, "_limit ": 7}}, ["acti_4"]),
    ("", b'{"_params": {"id__in": 12345678901234567890123}}', []),
    ("?id__in=acti_0", {"_params": {"id__in[0]": "acti_1"}}, ["acti_1"]),
    ("?id__in[]=acti_0&id__in[]=acti_2", {"_params": {}}, ["acti_2", "acti_0"]),
    ("?id__in[]=acti_0&id__in[]=acti_2", {"_params": {"id__in": ["acti_1"]}}, ["acti_1"]),
    ("", b'{"_params": {"_limit": 1, "_limit": 2}}', ["acti_4", "acti_3"]),
    ("", {"_params": {"_limit": {"$gt": 1}}}, (400, ["_limit"])),
    ("", {"_params": {"unknown": {}}}, (400, ["unknown"])),
    ("", {"_params": {"id__in": [["acti_1"]]}}, (400, ["id__in"])),
    ("", {"_params": {"id__in": [None]}}, (400, ["id__in"])),
    ("", {"_params": {"_limit": 1.5}}, (400, ["_limit"])),
    ("", {"_params": {"_limit": True}}, (400, ["_limit"])),
    ("", {"_params": {"_limit": 101}}, (400, ["_limit"])),
    ("", {"_params": []}, (400, ["_params"])),
    ("", {"_params": "x"}, (400, ["_params"])),
    ("", [], (400, ["_params"])),
    ("", 5, (400, ["_params"])),
    ("", b"{", (400, ["_params"])),
    ("", b"\xff\xfe", (400, ["_params"])),
    ("", b'{"_params": {"_limit": NaN}}', (400, ["_params"])),
    ("", b'{"_params": {"_order_by": "\\ud800"}}', (400, ["_params"])),
    ("", b"[" * 2000, (400, ["_params"])),
]


async def test_an_id_may_be_percent_encoded(api: Api) -> None:
    await api.apply([stored("Note", id="acti:a@b")])

    for path in ("/activity/acti:a@b/", "/activity/acti%3Aa%40b", "/activity/note/acti%3aa%40b/"):
        assert (await api.ask_raw(BASE_PATH + path)).status == 200, path
    for path in ("/activity/note%2Facti:a@b/", "/activity/acti%253Aa%2540b/", "/activity/%FF/"):
        assert (await api.ask_raw(BASE_PATH + path)).status == 404, path


async def test_params_are_exactly_that_get(api: Api) -> None:
    await api.apply(notes(5))

    for query, body, expected in PARAMS:
        found = await post(api, query, body)
        assert (len(found) if isinstance(expected, int) else found) == expected, (query, body)


async def test_params_are_taken_on_every_path(api: Api) -> None:
    await api.apply(notes(1))

    for path in ("/activity/note", "/activity/acti_0/", "/activity/note/acti_0", "/me"):
        fields = {"_params": {"_fields": "id"}}
        got = await api.ask(path, [("_fields", "id")])
        sent = await api.ask(path, method="POST", headers=OVERRIDE, json=fields)
        assert (sent.status, sent.body) == (got.status, got.body)


async def test_only_a_list_in_a_body_lies_over_that_of_the_query(api: Api) -> None:
    await api.apply(notes(1))

    names = (("_fields[0]", "note"), ("_fields[]", "note"), ("_fields[x]", "id"))
    for name, expected in names:
        sent = {"_params": {name: "note"}}
        reply = await api.ask(
            "/activity/", [("_fields", "id")], method="POST", headers=OVERRIDE, json=sent
        )
        assert set(reply.content["data"][0]) == {expected}, name


async def test_a_link_is_followed_by_sending_the_same_body(api: Api) -> None:
    await api.apply(notes(7))
    body = {"_params": {"_limit": 3, "_skip": 1, "_cursor": None, "lead_id": "lead_1"}}
    path: str | None = f"{BASE_PATH}/activity/?_limit=1"
    rows: list[str] = []

    while path is not None:
        reply = await api.ask_raw(path, method="POST", headers=OVERRIDE, json=body)
        rows += [row["id"] for row in reply.content["data"]]
        path = reply.next

    assert rows == [f"acti_{number}" for number in (5, 4, 3, 2, 1, 0)]


async def test_the_cap_of_a_body(api: Api) -> None:
    room = MAX_BODY_BYTES - len(b'{"_params": {"_limit": 1}}')
    exact = b'{"_params": {"_limit": 1}}' + b" " * room
    path = f"{BASE_PATH}/activity/"
    bomb = gzip.compress(b" " * 10_000_000)

    async def chunked(body: bytes) -> Any:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    for data, headers, status in (
        (exact, {}, 200),
        (exact + b" ", {}, 413),
        (chunked(exact), {}, 200),
        (chunked(exact + b" "), {}, 413),
        (bomb, {"Content-Encoding": "gzip"}, 413),
        (gzip.compress(exact), {"Content-Encoding": "gzip"}, 200),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400),
    ):
        reply = await api.ask_raw(path, method="POST", headers=OVERRIDE | headers, data=data)
        assert reply.status == status
        assert status == 200 or set(reply.content) == {"error", "errors", "field-errors"}


async def test_a_client_may_wait_for_leave_to_send(api: Api) -> None:
    reply = await api.ask(
        "/activity/", method="POST", headers=OVERRIDE, json={"_params": {}}, expect100=True
    )

    assert reply.status == 200


# --- compression --------------------------------------------------------------------------------

CODINGS = [
    ("gzip", "gzip"),
    ("gzip, deflate, br, zstd", "zstd"),
    ("gzip, zstd;q=0.5", "gzip"),
    ("zstd;q=0, gzip;q=0.1", "gzip"),
    ("*", "zstd"),
    ("*;q=0", None),
    ("identity", None),
    ("br, deflate", None),
    ("", None),
    ("gzip;q=nonsense", None),
    (";;q=,,=", None),
    ("GZIP", "gzip"),
]


async def test_bodies_are_compressed_as_the_client_accepts(api: Api) -> None:
    await api.apply(notes(20))
    plain = await api.ask("/activity/", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    decoders = {"gzip": cramjam.gzip.decompress, "zstd": cramjam.zstd.decompress}

    for accepted, coding in CODINGS:
        headers = {"Accept-Encoding": accepted}
        # The client is kept from decoding by asking for the bytes as they came.
        async with api.session.get(
            f"{api.url}{BASE_PATH}/activity/",
            headers={"Authorization": f"Bearer {await api.key()}", **headers},
            auto_decompress=False,
        ) as response:
            body = await response.read()
        assert response.headers.get("Content-Encoding") == coding, accepted
        assert response.headers["Vary"] == "Accept, Accept-Encoding, Prefer, X-TZ-Offset"
        assert response.headers["Content-Length"] == str(len(body))
        assert bytes(decoders[coding](body) if coding else body) == plain.body
        assert not coding or len(body) < len(plain.body) / 2


async def test_small_bodies_are_left_alone(api: Api) -> None:
    reply = await api.ask("/me/", headers={"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in reply.headers


async def test_large_bodies_are_compressed_too(api: Api) -> None:
    await api.apply([stored(id="acti_1", note="x" * 1_000_000)])

    reply = await api.ask("/activity/", headers={"Accept-Encoding": "gzip"})

    assert reply.headers["Content-Encoding"] == "gzip"
    assert len(reply.content["data"][0]["note"]) == 1_000_000


@pytest.mark.parametrize(
    ("type_name", "field", "value", "path"),
    [
        ("OpportunityStatusChange", "opportunity_id", "oppo_1", "status_change/opportunity/"),
        ("FormSubmission", "form_id", "form_1", "form_submission/"),
        ("WhatsAppMessage", "external_whatsapp_message_id", "wamid.1", "whatsapp_message/"),
        ("CustomActivity", "custom_activity_type_id", "actitype_1", "custom/"),
    ],
)
async def test_a_list_that_holds_a_value_is_not_the_value(
    api: Api, type_name: str, field: str, value: str, path: str
) -> None:
    """Such a field is kept and counted (contract 1.3), and MongoDB takes its values for its own."""
    own = stored(type_name, id="acti_own", lead_id="lead_1", **{field: value})
    listed = stored(type_name, id="acti_list", lead_id="lead_1", **{field: [value, "other"]})
    await api.apply([own, listed])

    asked = {
        f"/activity/{path}": [("lead_id", "lead_1"), (field, value)],
        "/activity/": [("lead_id", "lead_1"), ("_type", value)],
    }
    if type_name != "CustomActivity":
        del asked["/activity/"]
    for where, query in asked.items():
        reply = await api.ask(where, query)

        assert [row["id"] for row in reply.content["data"]] == ["acti_own"]


@pytest.mark.parametrize("value", ["%ff", "a%c3", "%ED%A0%80"])
async def test_what_is_no_utf_8_is_refused(api: Api, value: str) -> None:
    replaced = "\N{REPLACEMENT CHARACTER}"
    message = stored("WhatsAppMessage", external_whatsapp_message_id=replaced)
    await api.apply([message])

    path = f"{BASE_PATH}/activity/whatsapp_message/?external_whatsapp_message_id={value}"
    reply = await api.ask_raw(path)

    assert reply.status == 400
    assert "UTF-8" in reply.content["error"]
    date = await api.ask_raw(f"{BASE_PATH}/activity/?date_created__gt={value}")
    assert date.content["error"].startswith("date_created__gt: a date-time is YYYY-MM-DD")
