"""Files of any size that attack the reader of a format. Each repeats one part of a file of that format."""

from __future__ import annotations

from typing import Final

from tests.attacks.shapes import Shape

_TODOIST: Final = b"TYPE,CONTENT,PRIORITY,INDENT,DATE\n"
_TICKTICK: Final = b"List Name,Title,Content,Is Check list,Status,taskId,parentId,Reminder,Repeat,Tags\n"
_MICROSOFT: Final = b"Subject,Due Date,Status,Categories,Notes\n"
_CALENDAR: Final = b"BEGIN:VCALENDAR\n"
_TODO: Final = b"BEGIN:VTODO\nUID:a\nSUMMARY:x\nDTSTART;TZID=Europe/Berlin:20270101T090000\nRRULE:FREQ=DAILY\n"
_OBSERVANCE: Final = b"DTSTART:19700101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\n"
_ZONE: Final = (
    b"BEGIN:VTIMEZONE\nTZID:Z%07d\nBEGIN:STANDARD\n"
    + _OBSERVANCE
    + b"RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\nEND:STANDARD\nEND:VTIMEZONE\n"
)
_RULES: Final = b"BEGIN:STANDARD\n" + _OBSERVANCE + b"RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\nEND:STANDARD\n"
_OCCURRENCE: Final = b"BEGIN:VTODO\nUID:a\nSTATUS:COMPLETED\nRECURRENCE-ID:20280101T080000Z\nEND:VTODO\n"
_BOARD: Final = b'{"cards":[{"id":"a","name":"x"}],'

FILES: Final[dict[str, list[Shape]]] = {
    "json": [
        Shape("one number", b'[{"title":"x","position":', b"7", b"}]"),
        Shape("lists", b'{"todos":[],"lists":[', b'{"id":"000000000000000000000000","name":"%07d"},', b"]}"),
        Shape("nested lists in a todo", b'[{"title":"x","steps":', b"[", b""),
        Shape("equal keys", b"{", b'"todos":[],', b'"x":0}'),
    ],
    "csv": [
        Shape("one number", b"title,position\nx,", b"7", b"\n"),
        Shape("columns", b"title", b",%07d", b"\nx\n"),
        Shape("empty rows", b"title\n", b'"",,\n', b""),
        Shape("nested lists", b'title,steps\nx,"', b"[", b'"\n'),
        Shape("lines of steps", b'title,steps\nx,"', b"- [x] y\n", b'"\n'),
        Shape("one tag", b'title,tags\nx,"a', b" ", b'b"\n'),
    ],
    "ics": [
        Shape("rules in a time zone", _CALENDAR + b"BEGIN:VTIMEZONE\nTZID:Z\n", _RULES, b"END:VTIMEZONE\n"),
        Shape("time zones with rules", _CALENDAR, _ZONE, b""),
        Shape("time zones that are not closed", _CALENDAR, b"BEGIN:VTIMEZONE\nTZID:a\n", b""),
        Shape("names of time zones", _CALENDAR, b"X-WR-TIMEZONE:\n", b""),
        Shape("events", _CALENDAR, b"BEGIN:VEVENT\nUID:a\nSUMMARY:x\nEND:VEVENT\n", b"END:VCALENDAR\n"),
        Shape("todos inside of each other", _CALENDAR, b"BEGIN:VTODO\n", b""),
        Shape("components of almost the same name", _CALENDAR, b"BEGIN:VTODOS\nRELATED-TO:a\n", b""),
        Shape("relations", _CALENDAR, b"BEGIN:VTODO\nRELATED-TO:\n", b""),
        Shape("uids", _CALENDAR + b"BEGIN:VTODO\nRELATED-TO:a\n", b"BEGIN:VTODO\nUID:b\n", b""),
        Shape("children", _CALENDAR + _TODO + b"END:VTODO\n", b"BEGIN:VTODO\nRELATED-TO:a\nEND:VTODO\n", b""),
        Shape("occurrences", _CALENDAR + _TODO + b"END:VTODO\n", _OCCURRENCE, b""),
        Shape("alarms", _CALENDAR + b"BEGIN:VTODO\n", b"BEGIN:VALARM\nTRIGGER:-PT5M\nEND:VALARM\n", b"END:VTODO\n"),
        Shape("exceptions", _CALENDAR + _TODO + b"EXDATE:20270101T080000Z", b",20270101T080000Z", b"\nEND:VTODO\n"),
    ],
    "todoist": [
        Shape("notes", _TODOIST + b"task,x,4,1,\n", b"note,x,,,\n", b""),
        Shape("attachments", _TODOIST + b'task,x,4,1,\nnote,"', b"[[file {", b'",,,\n'),
        Shape("subtasks", _TODOIST + b"task,x,4,1,\n", b"task,x,1,2,\n", b""),
        Shape("labels", _TODOIST + b'task,"x', b" @a", b'",4,1,\n'),
        Shape("sections", _TODOIST, b"section,%07d,,,\n", b""),
        Shape("a date", _TODOIST + b'task,x,4,1,"every', b" mon", b'"\n'),
        Shape("empty rows", _TODOIST, b",,,,\n", b""),
        Shape("columns", _TODOIST.rstrip(), b",%07d", b"\ntask,x,4,1,\n"),
        Shape("one line", _TODOIST + b'task,"', b"x", b'",4,1,\n'),
    ],
    "ticktick": [
        Shape("subtasks", _TICKTICK + b"l,x,,,0,a\n", b"l,x,y,,0,b%07d,a\n", b""),
        Shape("a checklist", _TICKTICK + b'l,x,"', b"\xe2\x96\xabx\n", b'",Y,0\n'),
        Shape("reminders", _TICKTICK + b'l,x,,,0,,,"', b"P,", b'"\n'),
        Shape("a rule", _TICKTICK + b'l,x,,,0,,,,"', b"TT_SKIP=x;", b'"\n'),
        Shape("tags", _TICKTICK + b'l,x,,,0,,,,,"', b"a,", b'"\n'),
        Shape("empty rows", _TICKTICK, b",,,,,,,\n", b""),
        Shape("columns", _TICKTICK.rstrip(), b",%07d", b"\nl,x\n"),
    ],
    "microsoft": [
        Shape("spaces between categories", _MICROSOFT + b'x,,,"a', b" ", b'b"\n'),
        Shape("categories", _MICROSOFT + b'x,,,"', b"a;", b'"\n'),
        Shape("notes", _MICROSOFT + b',,,,"', b"\n ", b'x"\n'),
        Shape("rows", _MICROSOFT, b",1/2/2027,x,\n", b""),
        Shape("empty rows", _MICROSOFT, b",,,\n", b""),
        Shape("columns", _MICROSOFT.rstrip(), b",%07d", b"\nx\n"),
    ],
    "google": [
        Shape("lists", b'{"items":[', b'{"title":"%07d","items":[]},', b"{}]}"),
        Shape("lists in lists", b'{"items":[{"items":[', b"[[[]]],", b"0]}]}"),
        Shape(
            "subtasks",
            b'{"items":[{"items":[{"id":"a"},',
            b'{"id":"%07d","parent":"a","title":"x","notes":"y"},',
            b"{}]}]}",
        ),
        Shape("deleted tasks", b'{"items":[{"items":[', b'{"deleted":true},', b'{"deleted":true}]}]}'),
        Shape("links", b'{"items":[{"items":[{"title":"x","links":[', b"{},", b"{}]}]}]}"),
        Shape("one number", b'{"items":[{"items":[{"title":"x","updated":', b"7", b"}]}]}"),
        Shape("keys", b"{", b'"%07d":0,', b'"items":[]}'),
    ],
    "trello": [
        Shape("lists", b'{"cards":[],"lists":[', b'{"id":"%07d"},', b"{}]}"),
        Shape("names of lists", b'{"cards":[],"lists":[{"id":"a","name":"', b"x", b'"}]}'),
        Shape("labels", b'{"cards":[{"name":"x","labels":[', b'{"name":"%07d"},', b"{}]}]}"),
        Shape("checklists", _BOARD + b'"checklists":[', b'{"idCard":"a","checkItems":[{},{}]},', b"{}]}"),
        Shape("items", _BOARD + b'"checklists":[{"idCard":"a","checkItems":[', b"{},", b"{}]}]}"),
        Shape("actions", b'{"actions":[', b"0,", b'0],"cards":[]}'),
        Shape("nested actions", b'{"actions":[', b"[[]],", b'0],"cards":[]}'),
        Shape("one number", b'{"cards":[{"name":"x","dueReminder":', b"7", b"}]}"),
        Shape("keys", b"{", b'"%07d":0,', b'"cards":[]}'),
    ],
}
"""The shapes of whole files, by the name of the format."""
