"""Threads as pure functions, row by row of contract 2."""

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from service.activities.threads import (
    derive_thread_id,
    to_normalized_subject,
    to_preview,
    to_thread,
)

NOON = datetime(2026, 1, 2, 12)
MILLISECOND = timedelta(milliseconds=1)


def email(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A filled email: the higher the number, the newer."""
    at = NOON + timedelta(minutes=number)
    return {
        "id": f"acti_{number}",
        "organization_id": "orga_1",
        "lead_id": "lead_1",
        "contact_id": None,
        "user_id": None,
        "user_name": None,
        "created_by": None,
        "created_by_name": None,
        "updated_by": None,
        "updated_by_name": None,
        "date_created": at,
        "date_updated": at,
        "activity_at": at,
        "subject": "Quote",
    } | fields


def thread(*emails: dict[str, Any]) -> dict[str, Any]:
    derived = to_thread(emails)
    assert derived is not None
    return derived


def sent_by(*identities: Any) -> dict[str, Any]:
    return {"envelope": {"from": list(identities)}}


@pytest.mark.parametrize(
    ("subject", "normalized"),
    [
        ("Quote", "Quote"),
        ("Re: Quote", "Quote"),
        ("rE:FWD:aw: WG: fw:Quote", "Quote"),
        ("Undeliverable: undelivered: Quote", "Quote"),
        (" \u00a0Re:\u2003 a \t\n b\u3000", "a b"),
        ("Re : Quote", "Re : Quote"),
        ("Re[2]: Quote", "Re[2]: Quote"),
        ("Regarding: Quote", "Regarding: Quote"),
        ("Quote Re: x", "Quote Re: x"),
        ("UNDEL\u0130VERABLE: x", "UNDEL\u0130VERABLE: x"),
        ("Re:", ""),
        (" ", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_leading_marks_and_spare_white_space_go(subject: str | None, normalized: str) -> None:
    assert to_normalized_subject(subject) == normalized


def test_producers_thread_id_decides_first() -> None:
    assert derive_thread_id("orga_1", email(thread_id="acti_given")) == "acti_given"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"subject": "Re: Straße"}, {"subject": "STRASSE"}),
        ({"subject": "Quote", "references": ["<a>"]}, {"subject": "quote", "references": ["<b>"]}),
        ({"subject": "", "references": ["", "<a>"]}, {"subject": None, "references": ["<a>"]}),
        ({"subject": "", "references": ["<a>"]}, {"subject": "", "message_ids": ["<a>"]}),
        (
            {"lead_id": None, "envelope": {"in_reply_to": "<a>"}, "message_ids": ["<b>"]},
            {"lead_id": None, "subject": "Other", "envelope": {"message_id": "<a>"}},
        ),
        ({"subject": "", "thread_id": ""}, {"subject": "re:", "thread_id": None, "id": "acti_1"}),
    ],
)
def test_emails_of_one_conversation_share_a_thread(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, second = email(1, **one), email(2, **{"id": "acti_1"} | other)

    assert derive_thread_id("orga_1", first) == derive_thread_id("orga_1", second)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lead_id": "lead_1"}, {"lead_id": "lead_2"}),
        ({"lead_id": None}, {"lead_id": "lead_1"}),
        ({"lead_id": None}, {"lead_id": None}),
        ({"subject": "Quote"}, {"subject": "Quotes"}),
        ({"subject": ""}, {"subject": None}),
        ({"subject": "<a>"}, {"subject": "", "references": ["<a>"]}),
        ({"subject": "", "references": ["<a>"]}, {"subject": "", "references": ["<A>"]}),
    ],
)
def test_other_conversations_have_other_threads(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = email(1, **one), email(2, **other)

    assert derive_thread_id("orga_1", first) != derive_thread_id("orga_1", second)


def test_organizations_never_share_a_derived_thread() -> None:
    assert derive_thread_id("orga_1", email()) != derive_thread_id("orga_2", email())


def test_derived_id_is_the_hash_in_base_62() -> None:
    # SHA-256 of "orga_1\0lead_1\0subject\0quote", turned into base 62 by bc.
    assert derive_thread_id("orga_1", email()) == "acti_BWeaHphtGUencQ9ASDvqUfuozP9GZbH1BH2hJmvcY3Y"


def test_preview_has_its_17_keys_whatever_is_left_out() -> None:
    preview = to_preview({"id": "acti_1"})

    lists: dict[str, Any] = {"to": [], "cc": [], "bcc": []}
    values = dict.fromkeys(
        (
            "body_preview",
            "date_created",
            "date_sent",
            "date_updated",
            "direction",
            "envelope",
            "opens_summary",
            "send_as_id",
            "sender",
            "status",
            "subject",
            "user_id",
        )
    )
    assert preview == {"id": "acti_1", "has_attachments": False, **lists, **values}
    assert len(preview) == 17


@pytest.mark.parametrize(
    ("attachments", "has_attachments"),
    [([{}], True), ([None], True), ([], False), (None, False), ("a.pdf", False), ({"a": 1}, False)],
)
def test_only_an_array_holds_attachments(attachments: Any, has_attachments: bool) -> None:
    assert to_preview(email(attachments=attachments))["has_attachments"] is has_attachments


def test_without_members_there_is_no_thread() -> None:
    assert to_thread([]) is None


def test_a_thread_is_the_same_in_whatever_order_its_members_come() -> None:
    emails = [
        email(
            n,
            activity_at=NOON + timedelta(minutes=n // 3),
            user_id=f"user_{n % 4}" if n % 3 else None,
            updated_by="user_9" if n % 5 else None,
            **sent_by({"email": f"A{n % 7}@x.test", "name": f"A {n}" if n % 2 else ""}),
        )
        for n in range(20)
    ]
    expected = thread(*emails)

    for seed in range(20):
        shuffled = random.Random(seed).sample(emails, len(emails))
        assert thread(*shuffled) == expected


def test_a_thread_stands_a_millisecond_above_its_newest_email() -> None:
    derived = thread(email(2), email(5), email(3))

    assert derived["activity_at"] == derived["date_created"]
    assert derived["activity_at"] == NOON + timedelta(minutes=5) + MILLISECOND


def test_a_thread_does_not_leave_the_calendar() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, 999_000)

    assert thread(email(activity_at=last))["activity_at"] == last


def test_the_newest_email_names_subject_and_lead() -> None:
    derived = thread(email(1, lead_id="lead_1"), email(2, lead_id="lead_2", subject="Re: New"))

    assert derived["lead_id"] == "lead_2"
    assert derived["latest_normalized_subject"] == "New"


def test_equal_times_are_told_apart_by_id() -> None:
    derived = thread(
        email(9, id="acti_b", activity_at=NOON, subject="b", created_by="user_b"),
        email(1, id="acti_a", activity_at=NOON, subject="a", created_by="user_a"),
    )

    assert derived["latest_normalized_subject"] == "b"
    assert derived["created_by"] == "user_a"


def test_only_the_five_newest_are_shown() -> None:
    derived = thread(*(email(n) for n in range(8)))

    assert [preview["id"] for preview in derived["latest_emails"]] == [
        f"acti_{n}" for n in (7, 6, 5, 4, 3)
    ]
    assert derived["n_emails"] == 8


def test_users_are_those_of_the_members() -> None:
    derived = thread(
        email(1, user_id="user_1", user_name="One", created_by="user_7", created_by_name="Seven"),
        email(2, user_id="user_2", user_name="Two"),
        email(3, user_id="user_1", user_name="Uno"),
        email(4),
    )

    assert (derived["user_id"], derived["user_name"]) == ("user_1", "Uno")
    assert derived["users"] == ["user_1", "user_2"]
    assert (derived["created_by"], derived["created_by_name"]) == ("user_7", "Seven")
    assert derived["contact_id"] is None


def test_last_change_names_who_updated_the_thread() -> None:
    late = NOON + timedelta(days=1)
    derived = thread(
        email(1, date_updated=late, updated_by="user_1", updated_by_name="One"),
        email(2, date_updated=late + MILLISECOND),
        email(3, updated_by="user_3", updated_by_name="Three"),
    )

    assert derived["date_updated"] == late + MILLISECOND
    assert (derived["updated_by"], derived["updated_by_name"]) == ("user_1", "One")


def test_participants_are_the_senders_newest_first() -> None:
    derived = thread(
        email(1, **sent_by({"email": "ada@x.test", "name": "Ada"})),
        email(2, **sent_by({"email": "ADA@x.test", "name": "Ada Byron"})),
        email(3, **sent_by({"email": "bob@x.test"}, {"email": "Ada@x.test", "name": ""})),
    )

    assert derived["participants"] == [
        {"email": "bob@x.test", "name": None},
        {"email": "Ada@x.test", "name": "Ada Byron"},
    ]


@pytest.mark.parametrize(
    ("fields", "participant"),
    [
        ({"sender": '"Doe, Jane" <jane@x.test>'}, {"email": "jane@x.test", "name": "Doe, Jane"}),
        ({"sender": "Doe, Jane <jane@x.test>"}, {"email": "jane@x.test", "name": "Doe, Jane"}),
        ({"sender": " jane@x.test "}, {"email": "jane@x.test", "name": None}),
        ({"sender": "<jane@x.test>"}, {"email": "jane@x.test", "name": None}),
        ({"sender": "Jane <>"}, None),
        ({"sender": None}, None),
        ({"sender": "s@x.test"} | sent_by(), {"email": "s@x.test", "name": None}),
        ({"sender": "s@x.test"} | sent_by("a", None, {"email": 5}), {"email": "s@x.test", "name": None}),
        ({"sender": "s@x.test", "envelope": {"from": "a@x.test"}}, {"email": "s@x.test", "name": None}),
        ({"sender": "s@x.test"} | sent_by(3, {"email": "a@x.test", "name": 5}), {"email": "a@x.test", "name": None}),
    ],
)  # fmt: skip
def test_sender_counts_where_the_envelope_names_nobody(
    fields: dict[str, Any], participant: dict[str, Any] | None
) -> None:
    assert thread(email(**fields))["participants"] == ([participant] if participant else [])


def test_participants_end_at_500_and_keep_their_names() -> None:
    newest = [email(n, sender=f"p{n}@x.test") for n in range(1, 502)]
    oldest = email(0, sender="Five Hundred <p500@x.test>")

    participants = thread(oldest, *newest)["participants"]

    assert len(participants) == 500
    assert participants[0]["email"] == "p501@x.test"
    assert participants[1] == {"email": "p500@x.test", "name": "Five Hundred"}
    assert participants[-1]["email"] == "p2@x.test"
