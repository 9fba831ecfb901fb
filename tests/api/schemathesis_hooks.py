"""What schemathesis loads: the store's model, so that every answer is also a right one, and the
schemas as they are under `_fields`.

The schemas alone cannot say which schema-valid requests break a rule between parameters, nor what
the rows must be, nor that `_fields` takes keys away.
"""

import os
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import schemathesis
from jsonschema_rs import Draft202012Validator

from service.api.openapi import build_document
from tests.factories import realistic_events, record
from tests.model import Model, Refusal

EVENTS = 150
LEADS = 4


def records() -> list[bytes]:
    """What the store under test holds, the same in every process."""
    return [record(event) for event in realistic_events(1, EVENTS, leads=LEADS)]


def _model() -> Model:
    model = Model()
    for value in records():
        model.apply(value)
    return model


def validator(schema: Any, components: Any) -> Draft202012Validator:
    """Of a schema that refers to the document's components."""
    return Draft202012Validator({**schema, "components": components}, validate_formats=True)


def partial(components: Any) -> Any:
    """The components under `_fields`: a row has only the keys asked for, `_type` perhaps not."""
    schemas = {
        name: {
            {"oneOf": "anyOf"}.get(key, key): value
            for key, value in schema.items()
            if key != "required" or "x-always-of-type" not in schema
        }
        for name, schema in components["schemas"].items()
    }
    rows = schemas["EmailPage"]["properties"]["data"]["items"]
    rows["anyOf"] = rows.pop("oneOf", None) or rows["anyOf"]
    return {**components, "schemas": schemas}


if "SCHEMATHESIS_HOOKS" in os.environ:
    MODEL = _model()
    DOCUMENT = build_document()
    COMPONENTS = DOCUMENT["components"]
    PARTIAL = partial(build_document()["components"])

    @schemathesis.check
    def is_of_its_schema(
        _: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
    ) -> None:
        """In place of schemathesis's own check, which knows nothing of `_fields`."""
        operation = DOCUMENT["paths"][case.operation.path].get(case.method.lower(), {})
        said = operation.get("responses", {}).get(str(response.status_code), {})
        if "$ref" in said:
            said = COMPONENTS["responses"][said["$ref"].rpartition("/")[2]]
        if "content" not in said:
            return
        names = {name for name, _ in parse_qsl(urlsplit(str(response.request.url)).query)}
        components = PARTIAL if any(name.startswith("_fields") for name in names) else COMPONENTS
        schema = said["content"]["application/json"]["schema"]
        validator(schema, components).validate(response.json())

    @schemathesis.check
    def agrees_with_the_model(
        _: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
    ) -> None:
        """Status and body are the model's, valid request or not."""
        url = urlsplit(str(response.request.url))
        path = unquote(url.path)
        if response.request.method != "GET" or "/activity/" not in path or not case.headers:
            return
        if response.status_code not in (200, 400, 404):
            return
        pairs = parse_qsl(url.query, keep_blank_values=True)
        headers = dict(response.request.headers)
        status, body = MODEL.get(path, pairs, "orga_1", headers)
        assert response.status_code == status, f"the model says {status}: {body}"
        if isinstance(body, Refusal):
            assert body.is_told_by(response.json()), f"it should tell one of {body.faults}"
        elif status == 200:
            assert response.json() == body, f"the model's body is {body}"
