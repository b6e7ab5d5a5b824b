"""The notation of recurrence rules."""

from __future__ import annotations

from datetime import time

import pytest

from todo_service.todos.recurrence_rule import Rule


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("FREQ=DAILY", "FREQ=DAILY"),
        ("rrule:freq=daily;interval=1;", "FREQ=DAILY"),
        ("  RRULE:FREQ=WEEKLY ; BYDAY=FR, mo\n\tWKST=MO".replace("\n\t", ";"), "FREQ=WEEKLY;BYDAY=MO,FR"),
        ("UNTIL=20270131T090000;FREQ=DAILY", "FREQ=DAILY;UNTIL=20270131T090000"),
        ("FREQ=DAILY;UNTIL=20270131t090000z", "FREQ=DAILY;UNTIL=20270131T090000Z"),
        ("FREQ=DAILY;UNTIL=20270131", "FREQ=DAILY;UNTIL=20270131"),
        ("COUNT=05;FREQ=MONTHLY;BYDAY=-1FR,+2MO,1FR,1MO", "FREQ=MONTHLY;BYDAY=1MO,1FR,2MO,-1FR;COUNT=5"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1,15,+1,1,-2", "FREQ=MONTHLY;BYMONTHDAY=1,15,-2,-1"),
        ("FREQ=MONTHLY;BYSETPOS=-1;BYDAY=MO,TU,WE,TH,FR", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"),
        (
            "FREQ=YEARLY;WKST=SU;BYMONTH=12,1;BYWEEKNO=1,-1;BYYEARDAY=366,-1;BYDAY=SU;INTERVAL=2",
            "FREQ=YEARLY;INTERVAL=2;BYDAY=SU;BYYEARDAY=366,-1;BYWEEKNO=1,-1;BYMONTH=1,12;WKST=SU",
        ),
    ],
)
def test_a_rule_is_read_leniently_and_written_in_one_form(text: str, canonical: str) -> None:
    rule = Rule.parse(text)

    assert str(rule) == canonical
    assert Rule.parse(canonical) == rule


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "parts"),
        ("weekly", "parts"),
        ("FREQ=", "FREQ to be"),
        ("FREQ=WEEKLY;BYDAY=", "BYDAY to be"),
        ("FREQ=DAILY;UNTIL=;COUNT=2", "UNTIL to be"),
        ("FREQ=DAILY;=2", "unsupported part"),
        ("FREQ=DAILY;;COUNT=2", "parts"),
        ("COUNT=2", "FREQ"),
        ("FREQ=HOURLY", "FREQ"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ"),
        ("FREQ=DAILY;RSCALE=GREGORIAN", "RSCALE"),
        ("FREQ=YEARLY;BYEASTER=0", "BYEASTER"),
        ("FREQ=DAILY;X-OTHER=1", "X-OTHER"),
        ("FREQ=DAILY;\u0130=1", "unsupported part"),
        ("FREQ=DAILY;" + "X" * 100 + "=1", "unsupported part"),
        ("FREQ=DAILY;COUNT=0", "COUNT"),
        ("FREQ=DAILY;COUNT=\u0661", "COUNT"),
        ("FREQ=DAILY;COUNT=1_0", "COUNT"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101", "COUNT or UNTIL"),
        ("FREQ=DAILY;UNTIL=20271301", "UNTIL"),
        ("FREQ=DAILY;UNTIL=20270101T240000", "UNTIL"),
        ("FREQ=DAILY;UNTIL=2027-01-01", "UNTIL"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL"),
        ("FREQ=WEEKLY;WKST=XX", "WKST"),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY"),
        ("FREQ=DAILY;BYDAY=-1MO", "BYDAY"),
        ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY"),
        ("FREQ=MONTHLY;BYDAY=54MO", "BYDAY"),
        ("FREQ=MONTHLY;BYDAY=1MO,FR", "BYDAY"),
        ("FREQ=YEARLY;BYWEEKNO=20", "BYDAY in a rule with BYWEEKNO"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=1MO", "BYWEEKNO"),
        ("FREQ=YEARLY;BYWEEKNO=54;BYDAY=MO", "BYWEEKNO"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY"),
        ("FREQ=MONTHLY;BYMONTHDAY=-32", "BYMONTHDAY"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,,2", "BYMONTHDAY"),
        ("FREQ=YEARLY;BYYEARDAY=367", "BYYEARDAY"),
        ("FREQ=YEARLY;BYMONTH=-1", "BYMONTH"),
        ("FREQ=DAILY;BYSETPOS=1", "BYSETPOS"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=367", "BYSETPOS"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR"),
        ("FREQ=DAILY;BYMONTH=1" + ",1" * 300, "500 characters"),
    ],
)
def test_an_invalid_part_is_named(text: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"^Expected ") as caught:
        Rule.parse(text)

    assert name in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("parts", "moment"),
    [
        ("BYHOUR=9;BYMINUTE=30;BYSECOND=0", time(9, 30)),
        ("BYHOUR=9,9", time(9, 30, 15, 500_000)),
        ("BYSECOND=15", time(9, 30, 15)),
        ("BYHOUR=0;BYMINUTE=0", None),
    ],
)
def test_parts_that_repeat_the_time_of_the_todo_are_dropped(parts: str, moment: time | None) -> None:
    rule = Rule.parse(f"FREQ=WEEKLY;BYDAY=MO;{parts}")

    assert str(rule.drop_time(moment)) == "FREQ=WEEKLY;BYDAY=MO"


@pytest.mark.parametrize(
    ("parts", "moment", "name"),
    [
        ("BYHOUR=9,18", time(9), "BYHOUR"),
        ("BYHOUR=9;BYMINUTE=15", time(9), "BYMINUTE"),
        ("BYSECOND=60", time(9), "BYSECOND"),
        ("BYHOUR=9", None, "BYHOUR"),
        ("BYHOUR=9;BYSETPOS=1", time(9), "BYSETPOS"),
    ],
)
def test_parts_that_state_another_time_are_rejected(parts: str, moment: time | None, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Rule.parse(f"FREQ=DAILY;{parts}").drop_time(moment)


def test_the_time_may_be_that_of_the_start_or_of_the_due_date() -> None:
    rule = Rule.parse("FREQ=DAILY;BYHOUR=9;BYMINUTE=0")

    assert str(rule.drop_time(time(17), time(9))) == "FREQ=DAILY"
    with pytest.raises(ValueError, match="BYHOUR"):
        rule.drop_time(time(17), time(8))
