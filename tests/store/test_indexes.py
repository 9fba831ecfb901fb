"""The indexes are made once, checked for what they are, and never replaced behind one's back."""

import asyncio
from dataclasses import replace

import pytest

from service.errors import StartError
from service.settings import RetentionSettings
from service.store.indexes import (
    EXPIRY,
    FEED_EXPIRY,
    FEED_INDEXES,
    FORM,
    INDEXES,
    ensure_indexes,
)
from service.store.indexes import check_indexes as check
from service.store.mongo import Mongo

KEEP = RetentionSettings(feed_hours=24)


async def test_indexes_that_are_there_are_in_order(mongo: Mongo) -> None:
    assert await check(mongo) == []


async def test_making_them_again_changes_nothing(mongo: Mongo) -> None:
    before = await mongo.activities.index_information()

    await asyncio.gather(*(ensure_indexes(mongo, KEEP) for _ in range(3)))

    assert await mongo.activities.index_information() == before


async def test_each_missing_index_is_told(mongo: Mongo) -> None:
    await mongo.activities.drop_indexes()

    assert await check(mongo) == [f"index {index.name} is missing" for index in INDEXES]


async def test_without_a_collection_all_are_missing(mongo: Mongo) -> None:
    await mongo.activities.drop()

    assert len(await check(mongo)) == len(INDEXES)
    await ensure_indexes(mongo, KEEP)
    assert await check(mongo) == []


async def test_of_a_feed_that_is_not_kept_no_index_is_made_or_missed(mongo: Mongo) -> None:
    await mongo.feed.drop()
    assert await check(mongo) == [f"index {index.name} is missing" for index in FEED_INDEXES]

    await ensure_indexes(mongo, RetentionSettings())

    assert await check(replace(mongo, keeps_feed=False)) == []
    assert mongo.feed.name not in await mongo.feed.database.list_collection_names()


@pytest.mark.parametrize("hours", [0.5, 24, 8760])
async def test_the_hours_of_the_feed_change_in_place(mongo: Mongo, hours: float) -> None:
    await ensure_indexes(mongo, RetentionSettings(feed_hours=hours))

    information = await mongo.feed.index_information()
    assert information[FEED_EXPIRY]["expireAfterSeconds"] == hours * 3600
    assert await check(mongo) == []


async def test_a_new_collection_is_compressed_by_zstd_and_an_old_one_left_alone(
    mongo: Mongo,
) -> None:
    async def compressor() -> str:
        told = await mongo.activities.database.command("collStats", mongo.activities.name)
        creation: str = told["wiredTiger"]["creationString"]
        return creation.partition("block_compressor=")[2].partition(",")[0]

    assert await compressor() == "zstd"
    await mongo.activities.drop()
    await mongo.activities.insert_one({"_id": "orga_1!acti_1", "organization_id": "orga_1"})
    before = await compressor()

    await ensure_indexes(mongo, KEEP)

    assert await compressor() == before != "zstd"


@pytest.mark.parametrize("days", [1, 30, 24_855])
async def test_the_days_of_delete_markers_change_in_place(mongo: Mongo, days: int) -> None:
    await ensure_indexes(mongo, RetentionSettings(tombstone_days=days))

    information = await mongo.activities.index_information()
    assert information[EXPIRY]["expireAfterSeconds"] == days * 86_400
    assert await check(mongo) == []


@pytest.mark.parametrize(
    "options", [{}, {"sparse": True}, {"partialFilterExpression": {"_type": "Note"}}]
)
async def test_an_index_of_another_shape_is_told_and_left_alone(
    mongo: Mongo, options: dict[str, object]
) -> None:
    await mongo.activities.drop_index(FORM)
    await mongo.activities.create_index([("form_id", 1)], name=FORM, **options)

    assert await check(mongo) == [f"index {FORM} is not as it must be"]
    with pytest.raises(StartError, match=FORM):
        await ensure_indexes(mongo, KEEP)
    assert (await mongo.activities.index_information())[FORM]["key"] == [("form_id", 1)]


async def test_the_keys_of_ours_under_another_name_stop_the_start(mongo: Mongo) -> None:
    keys = next(list(index.keys) for index in INDEXES if index.name == "lead_activity_at")
    await mongo.activities.drop_index("lead_activity_at")
    await mongo.activities.create_index(keys, name="somebody_elses")

    with pytest.raises(StartError, match="drop it"):
        await ensure_indexes(mongo, KEEP)


async def test_an_index_that_is_still_being_built_is_missing(mongo: Mongo) -> None:
    await mongo.activities.drop_index(FORM)
    await mongo.activities.insert_many(
        [{"_id": n, "organization_id": "o", "_type": "FormSubmission"} for n in range(20_000)]
    )
    building = asyncio.create_task(ensure_indexes(mongo, KEEP))

    told = set[str]()
    while not building.done():
        told |= set(await check(mongo))
    await building

    assert told == {f"index {FORM} is missing"}
    assert await check(mongo) == []
