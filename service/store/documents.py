"""What a find gives, as MongoDB sends it: BSON.

The driver's cursors make an object of each document, even to take its bytes again: 530 of 800 µs
for a page of 100. The reply to a command is bytes until somebody looks inside, so a find whose
documents come in one reply is asked for as a command. What does not, some 16 MiB, is asked for again
by a cursor of the driver's, which alone knows the server that has the rest; and so is what fails,
for the driver's second tries and its knowledge of errors.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import Any

from bson import decode_all, encode
from bson.codec_options import CodecOptions
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo.errors import ConnectionFailure, PyMongoError, ServerSelectionTimeoutError

from service.bson.transcoding import Documents
from service.store.mongo import Mongo
from service.store.plans import Find

_RAW = CodecOptions(document_class=RawBSONDocument)
_ALL = 2**31 - 1


async def find_documents(
    mongo: Mongo,
    find: Find,
    projection: Mapping[str, int],
    *,
    limit: int,
    skip: int,
    remaining_milliseconds: Callable[[], int],
) -> AsyncGenerator[Documents, None]:
    """The documents of each reply. To be closed (`aclosing`), so that leaving early ends the query
    in MongoDB too."""
    command = {
        "find": mongo.activities.name,
        "filter": find.filter,
        "projection": projection,
        "hint": find.hint,
        "skip": skip,
        "limit": limit,
        "batchSize": _ALL,
        "maxTimeMS": remaining_milliseconds(),
    }
    if find.sort:
        command["sort"] = dict(find.sort)
    if read_concern := mongo.activities.read_concern.document:
        command["readConcern"] = read_concern
    documents = await _get_documents(mongo, command)
    if documents is not None:
        yield documents
        return
    cursor = mongo.activities.find_raw_batches(
        find.filter,
        projection,
        sort=find.sort or None,
        hint=find.hint,
        skip=skip,
        limit=limit,
        max_time_ms=remaining_milliseconds(),
    )
    try:
        async for part in cursor:
            yield Documents(encode({"firstBatch": decode_all(part, _RAW), "id": Int64(0)}))
    finally:
        if cursor.alive:
            await cursor.close()


async def _get_documents(mongo: Mongo, find: Mapping[str, Any]) -> Documents | None:
    """None where they do not come in one reply, or none does."""
    try:
        reply = await _run(mongo, find)
    except ServerSelectionTimeoutError:
        raise
    except ConnectionFailure:
        if not mongo.client.options.retry_reads:
            raise
        return None
    if not reply["ok"]:
        return None
    documents = Documents(reply["cursor"].raw)
    if not documents.cursor_id:
        return documents
    with suppress(PyMongoError):  # else MongoDB closes it by itself, some minutes later
        await _run(mongo, {"killCursors": find["find"], "cursors": [documents.cursor_id]})
    return None


async def _run(mongo: Mongo, command: Mapping[str, Any]) -> RawBSONDocument:
    """Errors are told and not raised: the driver understands them only in the replies it decodes."""
    reply: RawBSONDocument = await mongo.activities.database.command(
        dict(command),
        check=False,
        codec_options=_RAW,
        read_preference=mongo.activities.read_preference,
    )
    return reply
