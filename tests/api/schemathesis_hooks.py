"""What schemathesis loads: the store's model, so that every answer is also a right one.

The schemas alone cannot say which schema-valid requests break a rule between parameters, nor what
the rows must be.
"""

import os
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import schemathesis

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


if "SCHEMATHESIS_HOOKS" in os.environ:
    MODEL = _model()

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
