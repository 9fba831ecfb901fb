"""Every rule of contract 3.2 to 3.4 for what may be asked, and in which words it is refused."""

from operator import attrgetter
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.activities.types import BY_NAME, TYPES
from service.errors import InvalidRequest, UnknownParameters
from service.listing.cursor import Cursors
from service.listing.parameters import PARAMETERS, Form, OneLead, Parameter, parameters_of
from service.listing.parser import parse_fields, parse_query, require_known
from service.listing.query import Bounds, Condition, Cursor, Fields, Query, Sort

CURSORS = Cursors("a secret of sixteen characters")
ALL_BUT_THREADS = tuple(row.name for row in TYPES if row.name != "EmailThread")
NEW_YEAR = 1_767_225_600_000  # 2026-01-01T00:00:00Z
HOUR = 3_600_000
NAME = attrgetter("name")
ID_FILTERS = {Form.IDS, Form.TEXTS}
LEAD = ("lead_id", "lead_1")

Pair = tuple[str, str]


def parse(
    *parameters: Pair,
    own: str | None = None,
    tz_offset: str | None = None,
    is_strict: bool = False,
) -> Query:
    return parse_query(
        parameters,
        organization_id="orga_1",
        own_type=BY_NAME[own] if own else None,
        tz_offset=tz_offset,
        cursors=CURSORS,
        is_strict=is_strict,
    )


def refusal(*parameters: Pair, **options: Any) -> tuple[str | None, str]:
    """The parameter that is named, and the text, which names it too."""
    with pytest.raises(InvalidRequest) as caught:
        parse(*parameters, **options)
    assert str(caught.value.parameter) in caught.value.message
    return caught.value.parameter, caught.value.message


# --- nothing asked ------------------------------------------------------------------------------


def test_without_parameters_everything_newest_first() -> None:
    query = parse()

    assert query == Query("orga_1", types=ALL_BUT_THREADS)
    assert (query.sort, query.limit, query.skip) == (Sort("date_created", True), 100, 0)


EMPTY = ["", " ", ",", " ,\t, "]


@pytest.mark.parametrize("name", [row.name for row in PARAMETERS if row.form not in ID_FILTERS])
@pytest.mark.parametrize("value", EMPTY)
def test_an_empty_value_counts_as_absent(name: str, value: str) -> None:
    assert parse((name, value)) == parse()


@pytest.mark.parametrize("row", [row for row in PARAMETERS if row.form in ID_FILTERS], ids=NAME)
@pytest.mark.parametrize("value", EMPTY)
def test_an_empty_filter_by_ids_is_refused(row: Parameter, value: str) -> None:
    assert refusal((row.name, value), own=row.own_list)[0] == row.name
    assert refusal((f"{row.name}[]", value), own=row.own_list)[0] == row.name
    assert parse(LEAD, (row.name, value), (row.name, "a"), own=row.own_list)


@pytest.mark.parametrize(
    "pair",
    [
        ("unknown", "1"),
        ("$where", "1"),
        ("lead_id[$gt]", ""),
        ("lead_id__ne", "x"),
        ("opportunity_id", "oppo_1"),
        ("_fields[x]", "id"),
        ("_fields[0][0]", "id"),
        ("opportunity_id[0]", "oppo_1"),
        ("_Limit", "1"),
    ],
)
def test_an_unknown_parameter_is_ignored_unless_the_request_is_strict(pair: Pair) -> None:
    assert parse(pair) == parse()

    assert refusal(pair, is_strict=True)[0] == pair[0]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("leadid", "lead_id"),
        ("lead_ids", "lead_id"),
        ("limit", "_limit"),
        ("order_by", "_order_by"),
        ("type", "_type"),
        ("date_created_gte", "date_created__gte"),
        ("userId", "user_id"),
    ],
)
def test_a_slip_is_told_the_nearest_parameter(name: str, nearest: str) -> None:
    assert f"the nearest is {nearest}." in refusal((name, "1"), is_strict=True)[1]


def test_every_slip_is_told_by_its_name() -> None:
    with pytest.raises(UnknownParameters) as caught:
        parse(("leadid", "a"), LEAD, ("limit", "5"), ("leadid", "b"), is_strict=True)

    assert list(caught.value.field_errors) == ["leadid", "limit"]
    assert caught.value.message == " ".join(caught.value.field_errors.values())


def test_many_long_slips_cost_little() -> None:
    names = [(f"{number}" + "_lead_id" * 2000, "") for number in range(2000)]
    started = perf_counter()

    with pytest.raises(UnknownParameters) as caught:
        parse(*names, is_strict=True)

    assert len(caught.value.field_errors) == 5
    assert perf_counter() - started < 1


def test_a_strict_request_takes_every_parameter_there_is() -> None:
    for own_type in (None, *TYPES):
        known = parameters_of(own_type)
        require_known([(name, "") for name in known], known)
        require_known([(f"{name}[0]", "") for name in known], known)
    assert parse(LEAD, ("_limit", "1"), is_strict=True).limit == 1


def test_a_single_activity_knows_fields_alone_where_it_is_strict() -> None:
    assert parse_fields([("_fields[]", "id")], is_strict=True) == Fields(frozenset({"id"}))
    with pytest.raises(UnknownParameters):
        parse_fields([("lead_id", "lead_1")], is_strict=True)


# --- lists --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        [("lead_id", "a,b")],
        [("lead_id", "b"), ("lead_id", "a")],
        [("lead_id__in", "b,,a,")],
        [("lead_id", " b , a\t")],
        [("lead_id[]", "a"), ("lead_id[]", "b")],
        [("lead_id__in[0]", "a"), ("lead_id__in[10]", "b"), ("lead_id__in", "a")],
        [("lead_id", "a,b"), ("lead_id__in", "a"), ("lead_id__in", "b,c")],
    ],
)
def test_a_comma_list_a_repetition_and_both_filters_mean_the_same(parameters: list[Pair]) -> None:
    assert parse(*parameters).leads == ("a", "b")


@pytest.mark.parametrize("row", PARAMETERS, ids=NAME)
@pytest.mark.parametrize("suffix", ["[]", "[0]", "[17]"])
def test_only_what_takes_a_list_may_be_written_as_one(row: Parameter, suffix: str) -> None:
    value = "Call" if row.form is Form.TYPES else "some_id"
    if row.form in ID_FILTERS | {Form.TYPES, Form.FIELDS}:
        written = parse(LEAD, (f"{row.name}{suffix}", value), own=row.own_list)
        assert written == parse(LEAD, (row.name, value), own=row.own_list)
    else:
        assert refusal((f"{row.name}{suffix}", "1"))[0] == row.name


def test_two_filters_on_one_field_both_hold() -> None:
    query = parse(("lead_id", "a"), ("lead_id__in", "b"))

    assert query.leads == ()
    assert query.is_empty


@pytest.mark.parametrize("name", [row.name for row in PARAMETERS if row.form is Form.IDS])
@pytest.mark.parametrize("value", ["a b", "é", "x" * 129, '{"$gt":""}', "$ne", "a\0", "a,b c"])
def test_what_is_no_id_is_refused_by_name(name: str, value: str) -> None:
    own = next(row.own_list for row in PARAMETERS if row.name == name)

    assert refusal((name, value), own=own)[0] == name


def test_an_id_may_have_every_character_of_an_id() -> None:
    assert parse(("lead_id", "Az09_-.:@")).leads == ("Az09_-.:@",)


@pytest.mark.parametrize(
    "parameters",
    [
        [("lead_id", ",".join(f"l{number}" for number in range(101)))],
        [("lead_id__in", ",".join(f"l{number}" for number in range(101)))],
        [
            ("lead_id", ",".join(f"l{number}" for number in range(60))),
            ("lead_id__in", ",".join(f"l{number}" for number in range(50, 101))),
        ],
    ],
)
def test_more_than_a_hundred_leads_together_are_refused(parameters: list[Pair]) -> None:
    assert refusal(*parameters)[0] == parameters[0][0]


def test_a_hundred_ids_are_accepted_and_one_more_is_not() -> None:
    ids = [f"acti_{number:03d}" for number in range(101)]

    assert parse(("id__in", ",".join(ids[:100]))).ids == tuple(ids[:100])
    assert refusal(("id__in", ",".join(ids)))[0] == "id__in"


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "limit"), [("0", 0), ("1", 1), ("007", 7), ("100", 100)])
def test_a_limit_is_a_number(text: str, limit: int) -> None:
    assert parse(("_limit", text)).limit == limit


@pytest.mark.parametrize("name", ["_limit", "_skip"])
@pytest.mark.parametrize(
    "text", ["-1", "x", "1.0", "+1", "1e1", " 1", "0x1", "\u0661", "1,1", "1_0", "NaN"]
)
def test_what_is_no_number_is_refused(name: str, text: str) -> None:
    assert refusal((name, text))[0] == name


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("_limit", "101", "max_limit = 100"),
        ("_limit", "9" * 5000, "max_limit = 100"),
        ("_skip", "250001", "max_skip = 250000"),
        ("_skip", "9" * 5000, "max_skip = 250000"),
    ],
)
def test_a_number_over_its_maximum_is_refused_in_known_words(
    name: str, text: str, words: str
) -> None:
    parameter, message = refusal((name, text))

    assert parameter == name
    assert words in message
    assert "is larger than the maximum" in message


def test_two_hundred_scans_are_not_too_many() -> None:
    leads = ("lead_id", ",".join(f"lead_{number}" for number in range(100)))

    query = parse(leads, ("thread_emails", "true"), ("_skip", "10001"), own="Email")

    assert (query.scans, query.skip) == (200, 10_001)


def test_beyond_two_hundred_scans_the_skip_ends_earlier() -> None:
    leads = ",".join(f"lead_{number}" for number in range(15))
    few = ("lead_id", ",".join(leads.split(",")[:14]))

    assert parse(few, ("_skip", "250000")).skip == 250_000
    assert parse(("lead_id", leads), ("_skip", "10000")).skip == 10_000
    assert "max_skip = 10000" in refusal(("lead_id", leads), ("_skip", "10001"))[1]
    assert parse(("lead_id", leads), ("_skip", "10001"), own="Call").skip == 10_001


@pytest.mark.parametrize(
    "name", ["_limit", "_skip", "_order_by", "thread_emails", "_cursor", "date_created__gt"]
)
def test_what_has_one_value_is_refused_twice(name: str) -> None:
    value = {"_order_by": "date_created", "thread_emails": "only", "_cursor": "x"}.get(name, "1")

    assert refusal((name, value), (name, value))[0] == name


# --- sort and bounds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sort"),
    [
        ("-date_created", Sort("date_created", True)),
        ("date_created", Sort("date_created", False)),
        ("-activity_at", Sort("activity_at", True)),
        ("activity_at", Sort("activity_at", False)),
    ],
)
def test_the_four_sorts(text: str, sort: Sort) -> None:
    assert parse(LEAD, ("_order_by", text)).sort == sort


@pytest.mark.parametrize("text", ["id", "-user_id", "date_created,id", "--date_created", "$x"])
def test_another_sort_is_refused(text: str) -> None:
    assert refusal(LEAD, ("_order_by", text))[0] == "_order_by"


@pytest.mark.parametrize(
    "leads",
    [[], [("lead_id", "a,b")], [("lead_id", "a"), ("lead_id__in", "b")]],
    ids=["none", "two", "none in both"],
)
@pytest.mark.parametrize("own", [None, "Call"])
def test_sorting_by_activity_at_needs_one_lead(leads: list[Pair], own: str | None) -> None:
    assert refusal(*leads, ("_order_by", "activity_at"), own=own)[0] == "_order_by"


@pytest.mark.parametrize("operator", ["gt", "gte", "lt", "lte"])
def test_a_bound_belongs_to_the_field_being_sorted_by(operator: str) -> None:
    created, happened = f"date_created__{operator}", f"activity_at__{operator}"

    assert refusal(LEAD, (happened, "2026-01-01"))[0] == happened
    by_activity_at = ("_order_by", "activity_at")
    assert refusal(LEAD, by_activity_at, (created, "2026-01-01"))[0] == created
    assert parse(LEAD, by_activity_at, (happened, "2026-01-01")).bounds != Bounds()


@pytest.mark.parametrize(
    ("operator", "text", "bounds"),
    [
        ("gt", "2026-01-01", Bounds(lowest=NEW_YEAR + 1)),
        ("gte", "2026-01-01", Bounds(lowest=NEW_YEAR)),
        ("lt", "2026-01-01", Bounds(highest=NEW_YEAR - 1)),
        ("lte", "2026-01-01", Bounds(highest=NEW_YEAR)),
        ("gt", "2026-01-01T00:00:00.000000001", Bounds(lowest=NEW_YEAR + 1)),
        ("gte", "2026-01-01T00:00:00.000000001", Bounds(lowest=NEW_YEAR + 1)),
        ("lt", "2026-01-01T00:00:00.000000001", Bounds(highest=NEW_YEAR)),
        ("lte", "2026-01-01T00:00:00.000000001", Bounds(highest=NEW_YEAR)),
        ("gt", "1969-12-31T23:59:59.9995Z", Bounds(lowest=0)),
        ("lt", "1969-12-31T23:59:59.9995Z", Bounds(highest=-1)),
        ("gt", "9999-12-31T23:59:59.999999999", Bounds(lowest=253_402_300_800_000)),
        ("lt", "0001-01-01", Bounds(highest=-62_135_596_800_001)),
    ],
)
def test_bounds_finer_than_a_millisecond_compare_exactly(
    operator: str, text: str, bounds: Bounds
) -> None:
    assert parse((f"date_created__{operator}", text)).bounds == bounds


def test_all_bounds_hold() -> None:
    query = parse(
        ("date_created__gt", "2026-01-01T00:00:00"),
        ("date_created__gte", "2025-01-01"),
        ("date_created__lt", "2026-01-01T01:00:00"),
        ("date_created__lte", "2027-01-01"),
    )

    assert query.bounds == Bounds(NEW_YEAR + 1, NEW_YEAR + HOUR - 1)


@pytest.mark.parametrize(
    ("text", "tz_offset", "milliseconds"),
    [
        ("2026-01-01T00:00:00", None, NEW_YEAR),
        ("2026-01-01T00:00:00", "-0.000001", NEW_YEAR + 4),
        ("2026-01-01T00:00:00", "-4", NEW_YEAR + 4 * HOUR),
        ("2026-01-01", "5.5", NEW_YEAR - 5 * HOUR - HOUR // 2),
        ("2026-01-01", "+14", NEW_YEAR - 14 * HOUR),
        ("2026-01-01", "-0.0", NEW_YEAR),
        ("2026-01-01", "5.666666666666667", NEW_YEAR - 5 * HOUR - 2 * HOUR // 3),
        ("2026-01-01T00:00:00Z", "-4", NEW_YEAR),
        ("2026-01-01T00:00:00+01:00", "-4", NEW_YEAR - HOUR),
        ("2026-01-01T00:00:00 01:00", "-4", NEW_YEAR - HOUR),
        ("2026-01-01T00:00:00.5 00:00", None, NEW_YEAR + 500),
    ],
)
def test_naive_times_are_in_the_callers_zone(
    text: str, tz_offset: str | None, milliseconds: int
) -> None:
    query = parse(("date_created__gte", text), tz_offset=tz_offset)

    assert query.bounds.lowest == milliseconds


@pytest.mark.parametrize(
    "text", ["now", "2026-01-02T10:00", "$gt", "0000-01-01", "2026-02-30", "5", "2026-01-02 10:00"]
)
def test_what_is_no_date_time_is_refused(text: str) -> None:
    name, message = refusal(("date_created__gt", text))

    assert name == "date_created__gt"
    assert "YYYY-MM-DDThh:mm:ss" in message
    assert "1 to 9999" in message


@pytest.mark.parametrize(
    "text",
    ["14.5", "14.00000000000000000001", "-15", "x", "nan", "inf", "1e1", "5,5", "", "--1", " 1"],
)
def test_a_wrong_zone_is_refused(text: str) -> None:
    assert refusal(tz_offset=text)[0] == "X-TZ-Offset"


# --- one lead -----------------------------------------------------------------------------------


def _good_value(name: str) -> str:
    return "Call" if name.startswith("_type") else "some_id"


@pytest.mark.parametrize(
    ("name", "own"),
    [
        (row.name, row.own_list)
        for row in PARAMETERS
        if row.one_lead is OneLead.ALWAYS or (row.one_lead is OneLead.LISTING)
    ],
)
def test_some_parameters_need_exactly_one_lead(name: str, own: str | None) -> None:
    pair = (name, _good_value(name))

    assert refusal(pair, own=own)[0] == name
    assert refusal(pair, ("lead_id", "a,b"), own=own)[0] == name
    assert refusal(pair, ("lead_id", "a"), ("lead_id__in", "b"), own=own)[0] == name
    assert parse(pair, ("lead_id", "a,b"), ("lead_id__in", "b"), own=own).leads == ("b",)


@pytest.mark.parametrize("name", ["user_id", "user_id__in", "contact_id", "contact_id__in"])
def test_an_own_list_takes_users_and_contacts_without_a_lead(name: str) -> None:
    query = parse((name, "a,b"), own="Call")

    assert query.conditions == (Condition(name.removesuffix("__in"), frozenset({"a", "b"})),)


def test_both_filters_on_a_user_look_at_a_thread_by_themselves() -> None:
    query = parse(LEAD, ("user_id", "a"), ("user_id__in", "b"))

    assert [condition.values for condition in query.conditions] == [{"a"}, {"b"}]


# --- own lists ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "pair"),
    [
        ("OpportunityStatusChange", ("opportunity_id", "some_id")),
        ("FormSubmission", ("form_id", "some_id")),
        ("FormSubmission", ("form_id__in", "some_id")),
        ("CustomActivity", ("custom_activity_type_id", "some_id")),
        ("CustomActivity", ("custom_activity_type_id__in", "some_id")),
        ("WhatsAppMessage", ("external_whatsapp_message_id", "wamid.HBg/+==")),
    ],
)
def test_an_own_list_has_filters_of_its_own(own: str, pair: Pair) -> None:
    field = pair[0].removesuffix("__in")

    assert parse(LEAD, pair, own=own).conditions == (Condition(field, frozenset({pair[1]})),)
    assert parse(LEAD, pair, own="Note") == parse(LEAD, own="Note")


def test_both_filters_of_an_own_list_hold() -> None:
    query = parse(("form_id", "a,b"), ("form_id__in", "b,c"), own="FormSubmission")

    assert query.conditions == (Condition("form_id", frozenset({"b"})),)


def test_a_text_that_is_no_utf_8_is_refused() -> None:
    pair = ("external_whatsapp_message_id", "\udcff")

    assert refusal(pair, own="WhatsAppMessage")[0] == pair[0]


# --- types and conversations --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "own", "filters", "types"),
    [
        ("true", None, [], [row.name for row in TYPES]),
        ("only", None, [], [row.name for row in TYPES if row.name != "Email"]),
        ("", None, [("_type", "Email")], ["Email"]),
        ("true", None, [("_type", "Email")], ["Email", "EmailThread"]),
        ("only", None, [("_type", "Email")], ["EmailThread"]),
        ("false", None, [("_type", "EmailThread")], ["EmailThread"]),
        ("true", None, [("_type", "EmailThread")], ["EmailThread"]),
        ("only", None, [("_type", "EmailThread")], ["EmailThread"]),
        ("", None, [("_type", "Email,EmailThread")], ["Email", "EmailThread"]),
        ("", None, [("_type", "Note,Call"), ("_type__in", "Call,SMS")], ["Call"]),
        ("true", None, [("_type", "Note"), ("_type__in", "Email")], []),
        ("", "Email", [], ["Email"]),
        ("true", "Email", [], ["Email", "EmailThread"]),
        ("only", "Email", [], ["EmailThread"]),
        ("", "EmailThread", [], ["EmailThread"]),
        ("true", "EmailThread", [], ["EmailThread"]),
        ("only", "EmailThread", [("_type", "Email")], []),
        ("only", "Note", [], ["Note"]),
        ("", "Call", [("_type", "Note")], []),
    ],
)
def test_type_filters_intersect_and_then_the_mode_applies(
    mode: str, own: str | None, filters: list[Pair], types: list[str]
) -> None:
    query = parse(LEAD, ("thread_emails", mode), *filters, own=own)

    assert query.types == tuple(types)
    assert query.strips_emails == (mode == "true")


@pytest.mark.parametrize(
    ("filters", "types", "custom"),
    [
        ([("_type", "Custom")], ("CustomActivity",), None),
        ([("_type", "CustomActivity")], ("CustomActivity",), None),
        ([("_type", "actitype_1")], ("CustomActivity",), {"actitype_1"}),
        ([("_type", "actitype_1,Custom")], ("CustomActivity",), None),
        ([("_type", "Note,actitype_1")], ("Note", "CustomActivity"), {"actitype_1"}),
        ([("_type", "actitype_1,actitype_2"), ("_type__in", "actitype_2")], ("CustomActivity",), {"actitype_2"}),
        ([("_type", "actitype_1"), ("_type__in", "Custom")], ("CustomActivity",), {"actitype_1"}),
        ([("_type", "actitype_1"), ("_type__in", "actitype_2")], ("CustomActivity",), set()),
        ([("_type", "actitype_1"), ("_type__in", "Note")], (), {"actitype_1"}),
    ],
)  # fmt: skip  # one case a line
def test_custom_types_are_filtered_by_name_and_by_id(
    filters: list[Pair], types: tuple[str, ...], custom: set[str] | None
) -> None:
    query = parse(LEAD, *filters)

    assert query.types == types
    assert query.only_custom_types == custom


@pytest.mark.parametrize("name", ["call", "Fax", "$in", "actitype_", "actitype_a b", "E mail"])
def test_an_unknown_type_is_refused_by_its_name(name: str) -> None:
    parameter, message = refusal(LEAD, ("_type", f"Note,{name}"))

    assert parameter == "_type"
    assert name in message


@pytest.mark.parametrize("mode", ["yes", "True", "1", "Only"])
def test_an_unknown_mode_is_refused(mode: str) -> None:
    assert refusal(("thread_emails", mode))[0] == "thread_emails"


# --- the organization ---------------------------------------------------------------------------


def test_another_organization_is_an_empty_page() -> None:
    query = parse(("organization_id", "orga_2"))

    assert query.is_empty
    assert query.organization_id == "orga_1"


@pytest.mark.parametrize("text", ["orga_1", "orga_1,orga_2"])
def test_the_callers_own_organization_changes_nothing(text: str) -> None:
    assert parse(("organization_id", text)) == parse()


# --- fields -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        [("_fields", "id,note")],
        [("_fields[0]", "id"), ("_fields[1]", "note")],
        [("_fields", "id"), ("_fields", ",note")],
        [("_fields[]", " id"), ("_fields[]", "note ")],
    ],
)
def test_fields_come_in_every_form(parameters: list[Pair]) -> None:
    fields = Fields(frozenset({"id", "note"}))

    assert parse(*parameters).fields == fields
    assert parse_fields(parameters) == fields


def test_all_fields_may_be_asked_for() -> None:
    assert parse_fields([("_fields", "_all,id")]) == Fields(frozenset({"id"}), everything=True)


def test_a_single_activity_knows_no_other_parameter() -> None:
    assert parse_fields([("_limit", "x"), ("lead_id", "{")]) is None


# --- cursors ------------------------------------------------------------------------------------


def test_a_cursor_becomes_the_position_of_its_query() -> None:
    position = Cursor(NEW_YEAR, "acti_1")
    cursor = CURSORS.encode(parse(LEAD), position)

    assert parse(LEAD, ("_limit", "5"), ("_fields", "id"), ("_cursor", cursor)).after == position
    assert refusal(("lead_id", "lead_2"), ("_cursor", cursor))[0] == "_cursor"


def test_a_cursor_and_a_skip_are_refused_together() -> None:
    cursor = CURSORS.encode(parse(), Cursor(NEW_YEAR, None))

    assert refusal(("_skip", "0"), ("_cursor", cursor))[0] in {"_skip", "_cursor"}


# --- the table, and whatever bytes come ---------------------------------------------------------


def test_every_own_filter_is_for_its_own_list_only() -> None:
    for row in PARAMETERS:
        known_by = [type_.name for type_ in TYPES if row.name in parameters_of(type_)]

        assert known_by == ([row.own_list] if row.own_list else list(BY_NAME))


names = st.sampled_from([*(row.name for row in PARAMETERS), "_fields[0]"]) | st.text()


@given(
    parameters=st.lists(st.tuples(names, st.text()), max_size=6),
    own=st.none() | st.sampled_from(sorted(BY_NAME)),
    tz_offset=st.none() | st.text(max_size=6),
)
def test_whatever_comes_is_a_query_or_a_refusal(
    parameters: list[Pair], own: str | None, tz_offset: str | None
) -> None:
    refused, query = None, None
    try:
        query = parse(*parameters, own=own, tz_offset=tz_offset)
    except InvalidRequest as refusal_:
        refused = refusal_

    assert query is None or query.organization_id == "orga_1"
    assert refused is None or str(refused.parameter) in refused.message
