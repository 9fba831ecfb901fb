"""Walks every page with the client that openapi-python-client makes of the document."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator

from activity_client import AuthenticatedClient
from activity_client.api.listing import list_activities
from activity_client.models import ActivityPage, Call, EmailThread, ErrorBody, ThreadEmails, Wait
from activity_client.types import UNSET, Unset


def pages(client: AuthenticatedClient) -> Iterator[ActivityPage]:
    cursor: str | Unset = UNSET
    while True:
        answer = list_activities.sync_detailed(
            client=client, thread_emails=ThreadEmails.TRUE, field_cursor=cursor
        )
        if not isinstance(answer.parsed, ActivityPage):
            raise SystemExit(f"status {answer.status_code}")
        yield answer.parsed
        link = re.search(r"[?&]_cursor=([^&>]+)", answer.headers.get("link", ""))
        if link is None:
            return
        cursor = link[1]


def reason(body: ErrorBody) -> str:
    if isinstance(body.error, Wait):
        return f"{body.error.message}; again in {body.error.rate_reset} s"
    return body.error


def main(url: str, key: str) -> None:
    client = AuthenticatedClient(base_url=url, token=key)
    counts: Counter[str] = Counter()
    seconds = emails = 0
    for page in pages(client):
        for row in page.data:
            counts[row.field_type_] += 1
            assert row.date_created.tzinfo is not None
            if isinstance(row, Call) and isinstance(row.duration, int):
                seconds += row.duration
            if isinstance(row, EmailThread) and isinstance(row.n_emails, int):
                emails += row.n_emails
    refused = list_activities.sync(client=client, field_limit=101)
    error = reason(refused) if isinstance(refused, ErrorBody) else None
    print(json.dumps({"counts": counts, "seconds": seconds, "emails": emails, "error": error}))


main(*sys.argv[1:3])
