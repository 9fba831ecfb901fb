"""Writes of many activities at once, of which each operation ends by itself.

A server names each operation that it refuses. Where it refuses the whole command instead, the
operations are tried apart, so that one of them cannot hold up the others.
"""

import random
from collections.abc import Sequence
from typing import Any

from bson.errors import InvalidDocument
from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from service.errors import StoreUnavailable
from service.store.blame import OUTAGE_CODES, TOO_LARGE, WriteFault, to_fault
from service.store.mongo import Mongo, asking

# Tried alone of a command that was refused: where all of them are refused, it is not about them.
MAX_PROBES = 8

_RETRY = "RetryableWriteError"

Faults = dict[int, WriteFault]


class _CommandRefused(Exception):
    def __init__(self, fault: WriteFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


async def write_unordered(mongo: Mongo, operations: Sequence[Any]) -> Faults:
    """Run all operations on activities, of which a document is to be inserted; answer why each that
    failed did, by its place.

    Inserts and updates go apart: a driver that may repeat a bulk of both, and got no connection for
    it at first, runs the first kind only and reports success (seen with PyMongo 4.20).
    Raises `StoreUnavailable` where the rest is not known to be durable.
    """
    inserts, updates = list[int](), list[int]()
    for place, one in enumerate(operations):
        (updates if isinstance(one, (ReplaceOne, UpdateOne)) else inserts).append(place)
    faults: Faults = {}
    for places in (inserts, updates):
        if places:
            faults |= await _write(mongo, operations, places)
    return faults


async def _write(mongo: Mongo, operations: Sequence[Any], places: Sequence[int]) -> Faults:
    try:
        return await _write_at_once(mongo, operations, places)
    except _CommandRefused as refused:
        fault = refused.fault
    if len(places) == 1:
        return {places[0]: fault}
    return await _write_apart(mongo, operations, places, fault)


async def _write_apart(
    mongo: Mongo, operations: Sequence[Any], places: Sequence[int], fault: WriteFault
) -> Faults:
    order = random.sample(places, len(places))
    probes, rest = order[:MAX_PROBES], order[MAX_PROBES:]
    faults: Faults = {}
    for place in probes:
        faults |= await _write(mongo, operations, [place])
    if len(faults) == len(probes):
        shared = WriteFault(fault.code, fault.name, is_shared=True)
        return faults | dict.fromkeys(rest, shared)
    return faults | await _write_by_halves(mongo, operations, rest)


async def _write_by_halves(
    mongo: Mongo, operations: Sequence[Any], places: Sequence[int]
) -> Faults:
    if not places:
        return {}
    try:
        return await _write_at_once(mongo, operations, places)
    except _CommandRefused as refused:
        if len(places) == 1:
            return {places[0]: refused.fault}
    half = len(places) // 2
    first = await _write_by_halves(mongo, operations, places[:half])
    return first | await _write_by_halves(mongo, operations, places[half:])


async def _write_at_once(mongo: Mongo, operations: Sequence[Any], places: Sequence[int]) -> Faults:
    """Operations of one kind, in one command. Raises `_CommandRefused` where that was refused with a
    code that may be about one of them."""
    is_update = isinstance(operations[places[0]], (ReplaceOne, UpdateOne))
    write = mongo.activities.bulk_write if is_update else mongo.activities.insert_many
    async with asking(mongo):
        try:
            await write([operations[place] for place in places], ordered=False)
        except BulkWriteError as error:
            # The details hold whole documents: they are neither logged nor chained.
            details = error.details
        except InvalidDocument:
            # The driver's own word for what no server would take; its text holds the document.
            raise _CommandRefused(WriteFault(TOO_LARGE)) from None
        except OperationFailure as error:
            if error.code is None or error.code in OUTAGE_CODES or error.has_error_label(_RETRY):
                raise
            name = (error.details or {}).get("codeName", "")
            raise _CommandRefused(WriteFault(error.code, name)) from None
        else:
            return {}
    if details.get("writeConcernErrors"):
        raise StoreUnavailable("MongoDB cannot make it durable now")
    return {places[fault["index"]]: to_fault(fault) for fault in details["writeErrors"]}
