"""The document and the service say the same (contract 3.1)."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator
from openapi_pydantic import OpenAPI

from service.activities.types import TYPES
from service.api.openapi import build_document
from service.listing.parameters import PARAMETERS
from service.store.mongo import Mongo
from tests.api.conftest import BASE_PATH, Api, Reply, serving
from tests.api.schemathesis_hooks import records
from tests.examples import IS_LONG
from tests.factories import OWN_PATHS, activity, event, record
from tests.model import Model

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# All lists are one function over one table; every run takes those with rules of their own.
FEW_PATHS = r"^/api/v1/(activity/(|custom/|email/|\{id\}/|note/\{id\}/)|me/|openapi.json)$"
DOCUMENT = build_document()


def conforms(content: Any, name: str) -> bool:
    """Whether `content` is what the document calls `name`."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return Draft202012Validator(schema).is_valid(content)


async def test_every_answer_keeps_the_document(api: Api, tmp_path: Path) -> None:
    """Schemathesis with all checks on, and the model for what no schema can say."""
    await api.apply(records())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIGURATION, "run"),
        f"{api.url}{BASE_PATH}/openapi.json",
        *("--header", f"Authorization: Bearer {await api.key()}"),
        *("--max-examples", "10" if IS_LONG else "3", "--continue-on-failure", "--no-color"),
        *([] if IS_LONG else ["--include-path-regex", FEW_PATHS]),
        env={
            **os.environ,
            "PYTHONPATH": str(CONFIGURATION.parents[2]),
            "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
        },
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    said = output.decode()
    print(said[-1500:])

    assert process.returncode == 0, said
    passed = re.search(r"(\d+) generated, (\d+) passed", said)
    assert passed is not None, said
    assert int(passed[2]) > (4000 if IS_LONG else 500)
    assert passed[1] == passed[2]


def test_the_document_is_openapi() -> None:
    OpenAPI.model_validate(DOCUMENT)

    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator({**schema, "components": DOCUMENT["components"]})
        references = set(re.findall(r"#/components/schemas/(\w+)", str(schema)))
        assert references <= set(DOCUMENT["components"]["schemas"]), name


def test_every_path_and_parameter_is_in_the_document() -> None:
    lists = {f"{BASE_PATH}/activity/{path}/" for path in OWN_PATHS.values()}
    lists.add(f"{BASE_PATH}/activity/")
    others = {f"{BASE_PATH}/me/", f"{BASE_PATH}/openapi.json"}
    assert set(DOCUMENT["paths"]) == lists | {f"{path}{{id}}/" for path in lists} | others

    for own_type in (None, *TYPES):
        path = f"{BASE_PATH}/activity/{own_type.path}/" if own_type else f"{BASE_PATH}/activity/"
        shown = [resolved(reference) for reference in DOCUMENT["paths"][path]["get"]["parameters"]]
        expected = {
            row.name for row in PARAMETERS if row.own_list in (None, own_type and own_type.name)
        }
        assert {row["name"] for row in shown} == expected | {"X-TZ-Offset"}
        ruled = {row["name"] for row in shown if "exactly one lead." in row.get("description", "")}
        assert ("user_id" in ruled) is (own_type is None)
        assert "_type" in ruled


def resolved(reference: dict[str, str]) -> dict[str, Any]:
    _, _, kind, name = reference["$ref"].split("/")
    row = DOCUMENT["components"][kind][name]
    assert isinstance(row, dict)
    return row


async def test_whole_rows_are_of_their_types_schema(api: Api) -> None:
    """Without `_fields` no row may hide behind the schema of chosen fields."""
    model = Model()
    for value in records():
        model.apply(value)
    await api.apply(records())
    types = set()

    for mode in ("false", "true", "only"):
        for row in (await api.ask("/activity/", [("thread_emails", mode)])).content["data"]:
            is_stripped = row["_type"] == "Email" and mode == "true"
            name = "StrippedEmail" if is_stripped else row["_type"]
            assert conforms(row, name), row
            types.add(name)
    assert types >= {"Email", "StrippedEmail", "EmailThread", "Call", "Note"}
    for thread in list(model.threads("orga_1"))[:5]:
        single = (await api.ask(f"/activity/{thread}/")).content
        assert single["emails"]
        assert conforms(single, "EmailThread")


async def test_a_full_activity_of_a_type_is_of_its_schema(api: Api) -> None:
    names = [row.name for row in TYPES if row.name != "EmailThread"]
    await api.apply(record(event(activity(name, id=f"acti_{name}"))) for name in names)

    for name in names:
        whole = (await api.ask(f"/activity/acti_{name}", [("_fields", "_all")])).content

        assert conforms(whole, name)
        for broken in ({**whole, "id": 5}, {**whole, "_type": "Other"}, {**whole, "users": None}):
            assert not conforms(broken, name)
        assert not conforms({key: value for key, value in whole.items() if key != "id"}, name)


async def test_what_was_kept_as_it_came_is_of_its_schema_too(api: Api) -> None:
    odd: dict[str, Any] = {
        "duration": "five",
        "status": 7,
        "coach_legs": {"a": [1]},
        "recording_transcript": [1],
    }
    await api.apply([record(event(activity("Call", id="acti_1", **odd)))])

    whole = (await api.ask("/activity/acti_1", [("_fields", "_all")])).content

    assert whole["duration"] == "five"
    assert conforms(whole, "Call")


async def test_errors_are_of_their_schema(api: Api) -> None:
    refused = (await api.ask("/activity/", [("_limit", "x")])).content

    assert conforms(refused, "Error")
    assert not conforms(refused, "Later")
    assert not conforms({**refused, "internal": 1}, "Error")
    assert conforms((await api.ask("/me/")).content, "Me")


async def test_the_headers_of_every_answer_are_in_the_document(mongo: Mongo) -> None:
    rows = [event(activity("Note", id=f"acti_{number}")) for number in range(2)]
    asked = [("/activity/", {"_limit": "1"}), ("/activity/", {"_limit": "x"}), ("/nothing/", {})]
    listing = DOCUMENT["paths"][f"{BASE_PATH}/activity/"]["get"]["responses"]
    described = DOCUMENT["paths"][f"{BASE_PATH}/openapi.json"]["get"]["responses"]
    async with serving(mongo, rate_limit=f"{len(asked)}/day") as api:
        await api.apply(map(record, rows))
        replies = [await api.ask(path, list(query.items())) for path, query in asked]
        replies.append(await api.ask("/activity/"))
        replies.append(await api.ask("/activity/", headers={"Authorization": "Bearer none"}))
        replies.append(await api.ask("/activity/", [("lead_id", "x" * 20_000)]))
        document = await api.ask("/openapi.json")

    assert [reply.status for reply in replies] == [200, 400, 404, 429, 401, 414]
    for reply in replies:
        response = listing[str(reply.status)]
        said = response if reply.status == 200 else resolved(response)
        assert own_headers(reply) == {name.lower() for name in said["headers"]} - WHERE_PREFERRED
    assert own_headers(document) == {"x-request-id", "etag", "cache-control"}
    said = {name.lower() for name in described["200"]["headers"]}
    assert said - WHERE_PREFERRED == own_headers(document)


WHERE_PREFERRED = {"preference-applied"}


def own_headers(reply: Reply) -> set[str]:
    """But those that HTTP itself says something of."""
    return {name.lower() for name in reply.headers} - {
        *("access-control-allow-origin", "access-control-expose-headers"),
        *("connection", "content-encoding", "content-length", "content-type"),
        *("date", "server", "transfer-encoding", "vary"),
    }
