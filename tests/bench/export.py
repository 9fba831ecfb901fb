"""`python -m tests.bench.export PORT KEY`: everything there is, by the reference system's client.

Prints how many rows it got and how many distinct ids.
"""

import sys

from closeio_api import Client


def export(port: str, key: str) -> tuple[int, int]:
    """Page by page, as the client's documentation does it."""
    client = Client(key)
    client.base_url = f"http://127.0.0.1:{port}/api/v1/"
    ids: list[str] = []
    has_more = True
    while has_more:
        answer = client.get("activity", {"_skip": len(ids), "_limit": 100, "_fields": "id,_type"})
        ids += [f"{row['_type']} {row['id']}" for row in answer["data"]]
        has_more = answer["has_more"]
    return len(ids), len(set(ids))


if __name__ == "__main__":
    print(*export(*sys.argv[1:]))
