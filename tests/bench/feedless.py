"""`activity-consumers`, but that it tells no feed: what the feed costs shows beside it."""

from consumers.__main__ import main
from service.store import threads
from service.store.feed import ChangedRows
from service.store.mongo import Mongo


async def tell_nothing(mongo: Mongo, rows: ChangedRows) -> None:  # noqa: ARG001 as the original
    return


if __name__ == "__main__":
    threads.write_feed = tell_nothing  # type: ignore[attr-defined]
    main()
