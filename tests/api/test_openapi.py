"""The document and the service say the same (contract 3.1)."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator
from openapi_pydantic import OpenAPI

from service.activities.examples import conversation, example_event
from service.activities.types import TYPES
from service.api.components import REQUEST_HEADERS
from service.api.examples import example_rows
from service.api.openapi import build_document
from service.listing.cursor import Cursors
from service.listing.parameters import PARAMETERS
from service.listing.parser import parse_query
from service.store.keys import create_key
from service.store.mongo import Mongo
from tests.api.conftest import BASE_PATH, Api, Reply, serving
from tests.api.schemathesis_hooks import records, validator
from tests.examples import IS_LONG
from tests.factories import OWN_PATHS, activity, event, record
from tests.model import Model

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# All lists are one function over one table; every run takes those with rules of their own.
FEW_PATHS = r"^/api/v1/(activity/(|custom/|email/|\{id\}/|note/\{id\}/)|me/|openapi.json)$"
DOCUMENT = build_document()


def conforms(content: Any, schema: str | dict[str, Any]) -> bool:
    """Whether `content` is what the document calls by this name, or is of this schema of it."""
    if isinstance(schema, str):
        schema = {"$ref": f"#/components/schemas/{schema}"}
    return validator(schema, DOCUMENT["components"]).is_valid(content)


OPERATIONS = {path: item["get"] for path, item in DOCUMENT["paths"].items()}


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
        assert {row["name"] for row in shown} == expected | {
            "X-TZ-Offset",
            "Last-Event-ID",
            *REQUEST_HEADERS,
        }
        ruled = {row["name"] for row in shown if "exactly one lead." in row.get("description", "")}
        assert ("user_id" in ruled) is (own_type is None)
        assert "_type" in ruled


def resolved(reference: dict[str, str]) -> dict[str, Any]:
    _, _, kind, name = reference["$ref"].split("/")
    row = DOCUMENT["components"][kind][name]
    assert isinstance(row, dict)
    return row


async def test_whole_rows_are_of_their_types_schema(api: Api) -> None:
    """Without `_fields`, and where no field deviates."""
    model = Model()
    for value in records():
        model.apply(value)
    await api.apply(records())
    types = set()

    for mode in ("false", "true", "only"):
        page = (await api.ask("/activity/", [("thread_emails", mode)])).content
        assert conforms(page, "ActivityPage")
        for row in page["data"]:
            assert conforms(row, row["_type"]), row
            types.add(row["_type"])
    assert types >= {"Email", "EmailThread", "Call", "Note"}
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
        assert conforms(whole, "Activity")
        for broken in ({**whole, "id": 5}, {**whole, "_type": "Other"}, {**whole, "users": None}):
            assert not conforms(broken, name)
            assert not conforms(broken, "Activity")
        assert not conforms({key: value for key, value in whole.items() if key != "id"}, name)


async def test_what_is_always_of_its_type_is_that_also_beside_what_deviates(api: Api) -> None:
    odd: dict[str, Any] = {
        "duration": "five",
        "status": 7,
        "coach_legs": {"a": [1]},
        "recording_transcript": [1],
    }
    await api.apply([record(event(activity("Call", id="acti_1", **odd)))])

    whole = (await api.ask("/activity/acti_1", [("_fields", "_all")])).content

    call = DOCUMENT["components"]["schemas"]["Call"]
    sure = {name: whole[name] for name in call["x-always-of-type"] if name in whole}
    assert whole["duration"] == "five"
    assert set(odd).isdisjoint(sure)
    assert conforms(sure, {**call, "required": sorted(set(call["required"]) & set(sure))})
    assert set(sure) > {"_type", "id", "date_created", "users"}


# --- what people read, and what is generated ----------------------------------------------------


def test_everything_has_a_description() -> None:
    nameless = [
        f"{name}.{field}"
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for field, content in schema.get("properties", {}).items()
        if not content.get("description") and name != "Params"
    ]
    components = DOCUMENT["components"]
    described = [
        *(
            one
            for kind in ("parameters", "headers", "responses")
            for one in components[kind].items()
        ),
        *components["securitySchemes"].items(),
        *((tag["name"], tag) for tag in DOCUMENT["tags"]),
        *((path, operation) for path, operation in OPERATIONS.items()),
    ]

    assert nameless == []
    assert [name for name, one in described if not one.get("description")] == []
    assert DOCUMENT["servers"]
    assert DOCUMENT["info"]["contact"]


def test_operations_are_good_names_of_methods() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]

    assert len(names) == len(set(names)) == 2 * (1 + len(TYPES)) + 2
    assert {"listActivities", "getActivity", "listCalls", "getCall", "getMe"} <= set(names)
    assert {"listCustomActivities", "listSMS", "listEmailThreads"} <= set(names)
    assert all(re.fullmatch("(list|get)[A-Z][A-Za-z]+", name) for name in names)


def test_types_are_told_apart_by_their_type() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    names = [row.name for row in TYPES]

    for union in (schemas["Activity"], schemas["EmailPage"]["properties"]["data"]["items"]):
        mapping = union["discriminator"]["mapping"]
        assert union["discriminator"]["propertyName"] == "_type"
        assert [one["$ref"] for one in union["oneOf"]] == list(mapping.values())
        for name, reference in mapping.items():
            assert reference == f"#/components/schemas/{name}"
            assert schemas[name]["properties"]["_type"]["const"] == name
            assert "_type" in schemas[name]["required"]
    assert list(schemas["Activity"]["discriminator"]["mapping"]) == names


def test_every_example_is_of_its_schema() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert all(conforms(example, schema) for example in schema.get("examples", ())), name
    responses = [
        response
        for operation in OPERATIONS.values()
        for response in operation["responses"].values()
        if "content" in response
    ]
    for response in [*responses, *DOCUMENT["components"]["responses"].values()]:
        for media in response.get("content", {}).values():
            for example in media.get("examples", {}).values():
                assert conforms(example["value"], media["schema"])


def test_every_type_page_error_and_parameter_has_an_example() -> None:
    components = DOCUMENT["components"]
    for row in TYPES:
        assert components["schemas"][row.name]["examples"], row.name
    for path, operation in OPERATIONS.items():
        media = operation["responses"]["200"]["content"]["application/json"]
        assert media.get("examples") or path.endswith("openapi.json")
    for status, response in components["responses"].items():
        assert status == "304" or response["content"]["application/json"]["examples"]
    assert [name for name, one in components["parameters"].items() if "example" not in one] == []


async def test_examples_are_what_is_answered(api: Api) -> None:
    """Published as events, they come back as the document shows them."""
    examples = [example_event(row.name) for row in TYPES]
    await api.apply(record(one) for one in [*examples, *conversation()])
    await create_key(api.mongo, "orga_demo", "examples")

    for name, expected in example_rows().items():
        path = f"/activity/{OWN_PATHS[name]}/"
        listed = await api.ask(path, [("id__in", expected["id"])], organization="orga_demo")
        assert listed.content["data"] == [expected], name


def test_examples_of_parameters_are_taken() -> None:
    for row in PARAMETERS:
        order = "activity_at" if row.field == "activity_at" else "date_created"
        lead = [("lead_id", "lead_harbour")] if row.field != "lead_id" else []
        given = [*lead, ("_order_by", order), (row.name, row.example)]
        if row.name == "_cursor":
            continue  # only a service can make one
        asked = given if row.name != "_order_by" else [*lead, (row.name, row.example)]
        own_type = next((one for one in TYPES if one.name == row.own_list), None)
        parse_query(
            asked,
            organization_id="orga_demo",
            own_type=own_type,
            tz_offset=None,
            cursors=Cursors("a secret of sixteen characters"),
            is_strict=True,
        )


async def test_errors_are_of_their_schema(mongo: Mongo) -> None:
    async with serving(mongo, rate_limit="2/day") as api:
        refused = (await api.ask("/activity/", [("_limit", "x")])).content
        me = (await api.ask("/me/")).content
        limited = (await api.ask("/me/")).content

    assert conforms(refused, "ErrorBody")
    assert conforms(limited, "ErrorBody")
    assert conforms(limited["error"], "Wait")
    assert not conforms({**refused, "internal": 1}, "ErrorBody")
    assert conforms(me, "Me")


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
