"""Hooks that give schemathesis credentials, and values that only the service knows to be valid.

schemathesis loads this module (`SCHEMATHESIS_HOOKS`). `SERVICE_URL` is the address of the service.
"""

from __future__ import annotations

import itertools
import os
import re
from datetime import date, datetime
from http import HTTPStatus
from typing import Any

import httpx
import schemathesis
from hypothesis import strategies as st
from odmantic import ObjectId
from schemathesis.generation.meta import TestPhase

from todo_service.text import normalize_lines, normalize_text

Case = schemathesis.Case[Any]
PASSWORD = "correct horse battery"
SESSION_ENDING = ["deleteMe", "deleteSession", "deleteSessions", "changePassword"]
"""The operations that end the session that calls them."""
service = httpx.Client(base_url=os.environ["SERVICE_URL"], timeout=30)
_numbers = itertools.count()


def create_account_token() -> str:
    """Register an account and sign in."""
    return sign_in(register())


def register() -> str:
    name = f"fuzz-{os.getpid()}-{next(_numbers)}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    service.post("/v1/users", json=body).raise_for_status()
    return name


def sign_in(name: str) -> str:
    form = {"grant_type": "password", "username": name, "password": PASSWORD}
    token: str = service.post("/v1/auth/token", data=form).raise_for_status().json()["access_token"]
    return token


NAME = register()
TOKEN = sign_in(NAME)
_headers = {"Authorization": f"Bearer {TOKEN}"}
_list: dict[str, str] = {}


def get_or_create_list() -> str:
    """Return the id of an existing list: the previous one, unless it has been deleted."""
    if not _list or service.get(f"/v1/lists/{_list['id']}", headers=_headers).status_code != HTTPStatus.OK:
        made = service.post("/v1/lists", json={"name": "Garden"}, headers=_headers).raise_for_status()
        _list["id"] = made.json()["id"]
    return _list["id"]


def _send(case: Case, token: str) -> None:
    case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.auth().skip_for(operation_id=SESSION_ENDING)
class Someone:
    """The account that most calls use."""

    def get(self, case: Case, context: schemathesis.AuthContext) -> str:
        return TOKEN

    def set(self, case: Case, data: str, context: schemathesis.AuthContext) -> None:
        _send(case, data)


@schemathesis.auth(refresh_interval=None).apply_to(operation_id=SESSION_ENDING)
class Newcomer:
    """A new account for each call that ends its session."""

    def get(self, case: Case, context: schemathesis.AuthContext) -> str:
        return create_account_token()

    def set(self, case: Case, data: str, context: schemathesis.AuthContext) -> None:
        _send(case, data)


# formats that a schema cannot describe: recurrence rules, existing time zones, existing lists, future times


def _moments(first: int) -> st.SearchStrategy[str]:
    moments = st.datetimes(datetime(first, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001  # the offset is generated separately
    return st.builds(lambda moment, offset: moment.isoformat() + offset, moments, st.sampled_from(["Z", "+05:45"]))


schemathesis.openapi.format("date-time", _moments(2027))
schemathesis.openapi.format("date", st.dates(date(2027, 1, 1), date(2027, 12, 31)).map(date.isoformat))
schemathesis.openapi.format("time-zone", st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]))
schemathesis.openapi.format(
    "recurrence", st.sampled_from(["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO", "FREQ=YEARLY;COUNT=2"])
)
schemathesis.openapi.format("recurrence-exception", st.one_of(st.dates(date(2027, 1, 1)).map(str), _moments(2027)))
schemathesis.openapi.format("list-id", st.builds(get_or_create_list))
schemathesis.openapi.format("email", st.from_regex(r"[a-z]{4,12}\.[a-z0-9]{4,12}@example\.com", fullmatch=True))

_TAGS = re.compile(r'(W/)?"[!#-~]*"')
_cursors: dict[str, dict[str, Any]] = {}
"""The cursors that the service has issued, each with the query of its page."""
_keys: set[str] = set()
_TEXTS = {
    "text/csv": 'title,tags\r\n"…",home\r\n',
    "text/calendar": (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Fuzz//EN\r\nBEGIN:VTODO\r\nUID:1\r\n"
        "DTSTAMP:20270101T090000Z\r\nSUMMARY:…\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
    ),
}
"""Bodies with a grammar of their own, with a placeholder for text."""
_MAKING = {
    "todo_id": ("/v1/todos", {"title": "Water the plants"}),
    "list_id": ("/v1/lists", {"name": "Garden"}),
    "webhook_id": ("/v1/webhooks", {"url": "https://example.com/hook", "events": ["todo.changed"]}),
    "key_id": ("/v1/api-keys", {"name": "script", "scope": "read"}),
}


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Fix the values of a positive test case that only the service knows to be valid."""
    if case.meta is None or case.meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        _keys.add(case.headers.get("Idempotency-Key", ""))
        return
    _fix_path(case)
    _fix_headers(case)
    _fix_query(case)
    if isinstance(case.body, dict):
        _fix_body(case, case.body)
    if isinstance(case.body, str) and case.media_type in _TEXTS:
        text = re.sub(r'[\x00-\x1f\x7f"\\]', "", case.body)
        case.body = _TEXTS[case.media_type].replace("…", text)


@schemathesis.hook
def after_call(context: schemathesis.HookContext, case: Case, response: schemathesis.Response) -> None:
    """Store the cursors."""
    if case.method == "GET" and response.status_code == HTTPStatus.OK and "json" in response.headers["content-type"][0]:
        body = response.json()
        for name in ("next_cursor", "next"):
            if isinstance(body, dict) and isinstance(body.get(name), str):
                _cursors[body[name]] = {"path": case.path, **(case.query or {})}


def _fix_path(case: Case) -> None:
    """Insert the id of an existing document. A stateful test uses the ids that it has created."""
    assert case.meta is not None
    for name, value in case.path_parameters.items():
        if case.meta.phase.name is not TestPhase.STATEFUL:
            case.path_parameters[name] = _make(name, case.headers["Authorization"])
        elif not re.fullmatch("[0-9a-f]{24}", str(value)):
            # schemathesis may use other parts of responses as ids
            case.path_parameters[name] = "0" * 24


def _make(name: str, authorization: str) -> str:
    headers = {"Authorization": authorization}
    if name == "session_id":
        response = service.get("/v1/sessions", headers=headers).raise_for_status().json()["items"][0]
    elif name == "delivery_id":
        return "0" * 24
    else:
        path, body = _MAKING[name]
        if name == "webhook_id":
            # an account may have few of them
            for webhook in service.get(path, headers=headers).raise_for_status().json()["items"]:
                service.delete(f"{path}/{webhook['id']}", headers=headers)
        response = service.post(path, json=body, headers=headers).raise_for_status().json()
    made: str = response["id"]
    return made


def _fix_headers(case: Case) -> None:
    headers = case.headers
    key = headers.get("Idempotency-Key")
    if key is not None and (key in _keys or not re.fullmatch("[!-~]{1,255}", key)):
        key = f"another-key-{os.getpid()}-{next(_numbers)}"  # a key is valid for a single request
        headers["Idempotency-Key"] = key
    if key is not None:
        _keys.add(key)
    for name in ("If-Match", "If-None-Match"):
        # schemathesis treats some values that do not match the pattern, such as 0, as valid
        if name in headers and not _TAGS.search(headers[name]):
            headers[name] = "*"


def _fix_query(case: Case) -> None:
    query = case.query
    if "requestBody" in case.operation.definition.raw:
        query.pop("format", None)  # it would have to agree with the media type
    for name in ("cursor", "since"):
        if name in query:
            page = dict(_cursors.get(query[name], {}))
            cursor = query.pop(name)
            if page.pop("path", None) == case.path:
                # a cursor is valid only for the filters and the sort order of its page
                limit = query.get("limit")
                query.clear()
                query |= page | {name: cursor} | ({"limit": limit} if limit is not None else {})


def _fix_texts(value: Any) -> Any:
    """Replace the texts with control characters, without visible characters or with long runs of marks."""
    match value:
        case dict():
            return {name: _fix_texts(item) for name, item in value.items()}
        case list():
            return [_fix_texts(item) for item in value]
        case str():
            try:
                normalize_lines(value, len(value))
                normalize_text(value.replace("\n", " ").replace("\t", " "), 3 * len(value), shortest=0)
            except ValueError:
                return "Water the plants"
            return re.sub(r"[\n\t]", " ", value)
    return value


def _fix_schedule(body: dict[str, Any]) -> None:
    """Give a todo at most one due date, no start after it, and no rule without it."""
    if isinstance(body.get("due_at"), str):
        body.pop("due_on", None)
    for name in ("start_at", "start_on"):
        if isinstance(body.get(name), str):
            body[name] = None
    if any(name in body and body[name] is None for name in ("due_at", "due_on")):
        body["recurrence"] = None


def _fix_reminders(body: dict[str, Any]) -> None:
    """Give each reminder exactly one time, which does not depend on a due date."""
    for reminder in body.get("reminders") or ():
        reminder.pop("minutes_before", None)
        reminder["at"] = "2027-01-31T09:00:00Z"


def _fix_body(case: Case, body: dict[str, Any]) -> None:
    body |= _fix_texts(body)
    for name in {"password", "new_password"} & body.keys():
        if not (body[name].isascii() and body[name].isprintable()):
            body[name] = f"{PASSWORD} {next(_numbers)}"
    if isinstance(body.get("url"), str):
        body["url"] = "https://example.com/hook"  # the schema does not say which addresses are public
    if isinstance(body.get("list_id"), str):
        body["list_id"] = get_or_create_list()
    if isinstance(body.get("recurrence"), str):
        body["recurrence"] = "FREQ=WEEKLY"
        body["due_at"] = "2027-01-31T09:00:00Z"
    _fix_schedule(body)
    _fix_reminders(body)
    given = set()
    for step in body.get("steps") or ():
        if step.get("id") in given:
            step["id"] = ObjectId().binary.hex()  # ids are unique within a list
        if "id" in step:
            given.add(step["id"])
    if isinstance(body.get("expires_at"), str):
        body["expires_at"] = "2099-01-31T09:00:00Z"
    if isinstance(body.get("time_zone"), str):
        body["time_zone"] = "Europe/Berlin"
    if isinstance(body.get("completed_at"), str):
        body["completed_at"] = "2026-01-31T09:00:00Z"
    match case.operation.definition.raw["operationId"]:
        case "createUser" if body["username"].casefold() in body["password"].casefold():
            body["username"] = f"user-{os.getpid()}-{next(_numbers)}"
        case "moveTodo" | "moveList":
            # exactly one of the three is given, and a neighbor must be in the same order
            for name in ("before", "after"):
                body.pop(name, None)
            body.setdefault("to", "first")
        case "importTodos":
            for item in (*(body.get("lists") or ()), *(body.get("todos") or ()), *(body.get("items") or ())):
                if isinstance(item.get("version"), float):
                    item["version"] = int(item["version"])  # for JSON Schema, 1.0 is an integer as well
        case "updateTodo" if "completed_at" in body:
            body["completed"] = True
        case "createToken":
            # each field must be a single text, and only an existing account gets a token
            body.clear()
            body |= {"grant_type": "password", "username": NAME, "password": PASSWORD}
        case "revokeToken":
            token = body["token"]
            body.clear()
            body["token"] = token
        case "deleteMe":
            body["password"] = PASSWORD
        case "changePassword":
            body["current_password"] = PASSWORD
