"""`todo-service users`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from todo_service.cli.password_input import read_new_password
from todo_service.cli.preparation import fail, load_settings_or_exit, name_store

if TYPE_CHECKING:
    from todo_service.accounts.administration import AccountAdministration, AdministeredUser
    from todo_service.accounts.dto import Session
    from todo_service.settings import Settings

_LIFETIME_DAYS: Final = 7
_COLUMNS: Final = "{:<32}  {:<10}  {:<8}  {}"
ResultT = TypeVar("ResultT")


def _check_text(context: click.Context, parameter: click.Parameter, text: str) -> str:
    """Reject an argument that is not UTF-8. The interpreter decodes it to lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("expected UTF-8") from None
    return text


_name_argument: Final = click.argument("name", callback=_check_text)
_json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def users() -> None:
    """Manage accounts, also while the service runs.

    The commands use the store that the settings name. NAME is a username or an email address. A running service notices
    changes within 10 seconds.
    """


@users.command("list")
@_json_option
def list_users(as_json: bool) -> None:
    """List all accounts."""

    async def run(administration: AccountAdministration) -> None:
        # an account at a time, because there may be more than fit in memory
        if not as_json:
            click.echo(_COLUMNS.format("USERNAME", "CREATED", "STATUS", "EMAIL"))
            async for user in administration.scan():
                status = "disabled" if user.disabled else "active"
                click.echo(_COLUMNS.format(user.username, user.created_at[:10], status, user.email))
            return
        separator = "["
        async for user in administration.scan():
            click.echo(separator + json.dumps(_to_dict(user)), nl=False)
            separator = ",\n"
        click.echo("[]" if separator == "[" else "]")

    _run(run)


@users.command()
@click.argument("username", callback=_check_text)
@click.option("--email", required=True, callback=_check_text, help="The email address.")
@click.option("--display-name", default="", callback=_check_text, help="The name shown to people.")
@click.option("--time-zone", default="UTC", show_default=True, callback=_check_text, help="An IANA time zone.")
@_json_option
def create(as_json: bool, **values: str) -> None:
    """Create an account, regardless of REGISTRATION.

    The password is typed at a prompt, or is the first line of standard input.
    """
    values["password"] = read_new_password()

    async def run(administration: AccountAdministration) -> AdministeredUser:
        from todo_service.accounts.dto import UserCreate  # imported late, see the package's docstring

        return await administration.create(UserCreate(**values))

    _report(_run(run), "created", as_json)


@users.command()
@_name_argument
@_json_option
def password(name: str, as_json: bool) -> None:
    """Set a new password and end all sessions.

    The password is typed at a prompt, or is the first line of standard input.
    """
    new = read_new_password()
    _report(_change(name, lambda administration, user: administration.set_password(user, new)), "changed", as_json)


@users.command()
@_name_argument
@_json_option
def disable(name: str, as_json: bool) -> None:
    """Disable an account: nobody can sign in to it.

    Its sessions and API keys end for good. Its webhooks wait until it is enabled.
    """
    _report(_change(name, lambda administration, user: administration.disable(user)), "disabled", as_json)


@users.command()
@_name_argument
@_json_option
def enable(name: str, as_json: bool) -> None:
    """Enable a disabled account: its owner can sign in again."""
    _report(_change(name, lambda administration, user: administration.enable(user)), "enabled", as_json)


@users.command()
@_name_argument
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@_json_option
def delete(name: str, yes: bool, as_json: bool) -> None:
    """Delete an account and everything it owns."""
    if not yes:
        if sys.stdin is None:
            fail("standard input is closed; pass --yes to delete without confirmation")
        found = _run(lambda administration: administration.find(name))
        question = f"Delete the account {found.username} ({found.email}) and everything it owns?"
        click.confirm(question, abort=True, err=True)

    async def run(administration: AccountAdministration) -> AdministeredUser:
        user = await administration.find(name)
        await administration.delete(user)
        return user

    _report(_run(run), "deleted", as_json)


@users.command()
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    default=_LIFETIME_DAYS,
    show_default=True,
    help="How long the invitation is valid.",
)
@_json_option
def invite(days: int, as_json: bool) -> None:
    """Print an invitation for one registration.

    Registering requires one while REGISTRATION is `invite`. It is shown only once.
    """
    from todo_service.timestamps import format_timestamp  # imported late, see the package's docstring

    invitation = _run(lambda administration: administration.invite(timedelta(days=days)))
    expires_at = format_timestamp(invitation.expires_at)
    if as_json:
        click.echo(json.dumps({"invitation": invitation.text, "expires_at": expires_at}))
    else:
        click.echo(invitation.text)
        click.echo(f"valid for one registration until {expires_at}", err=True)


@users.command()
@_name_argument
@click.option("--end", is_flag=True, help="End all sessions of the account.")
@_json_option
def sessions(name: str, end: bool, as_json: bool) -> None:
    """List the sessions of an account, newest first."""

    async def run(administration: AccountAdministration) -> list[Session]:
        user = await administration.find(name)
        found = await administration.list_sessions(user)
        if end:
            await administration.end_sessions(user)
        return found

    found = _run(run)
    if as_json:
        click.echo(json.dumps([_to_dict(session) for session in found]))
        return
    for session in found:
        click.echo(f"{session.id}  {session.last_used_at}  {session.address}  {_escape(session.user_agent)}")
    click.echo(f"sessions{' ended' if end else ''}: {len(found)}", err=True)


def _run(work: Callable[[AccountAdministration], Awaitable[ResultT]]) -> ResultT:
    """Open the store of the settings, do the work and close it. Exit with status 1 and the reason if that fails."""
    from todo_service.errors import Duplicate, Invalid, ServiceError  # imported late, see the package's docstring
    from todo_service.observability.logs import configure_logging  # as above
    from todo_service.store.errors import StoreError  # as above

    settings = load_settings_or_exit()
    configure_logging(settings)

    async def run() -> ResultT:
        async with _open_administration(settings) as administration:
            return await work(administration)

    try:
        return asyncio.run(run())
    except Invalid as error:
        fail(*(f"{issue.pointer.removeprefix('/')}: {issue.detail}" for issue in error.issues))
    except Duplicate as error:
        fail(f"{error.field}: {error}")
    except ServiceError as error:
        fail(str(error))
    except StoreError as error:
        fail(f"{name_store(settings)}: {error}")


@asynccontextmanager
async def _open_administration(settings: Settings) -> AsyncIterator[AccountAdministration]:
    from todo_service.services import MODELS, create_administration  # imported late, see the package's docstring
    from todo_service.store.registry import create_store  # as above

    store = create_store(settings.store_address)
    try:
        await store.open(*MODELS)
        with create_administration(settings, store) as administration:
            yield administration
    finally:
        await store.close()


def _change(
    name: str, change: Callable[[AccountAdministration, AdministeredUser], Awaitable[AdministeredUser]]
) -> AdministeredUser:
    """Change the account with a name, and return it."""

    async def run(administration: AccountAdministration) -> AdministeredUser:
        return await change(administration, await administration.find(name))

    return _run(run)


def _report(user: AdministeredUser, action: str, as_json: bool) -> None:
    click.echo(json.dumps(_to_dict(user)) if as_json else f"{action} {user.username} ({user.email})")


def _to_dict(struct: AdministeredUser | Session) -> dict[str, Any]:
    import msgspec  # imported late, see the package's docstring

    found: dict[str, Any] = msgspec.to_builtins(struct)
    found.pop("current", None)  # the command has no session of its own
    return found


def _escape(text: str) -> str:
    """Return text from a client with unprintable characters escaped, so that it cannot control the terminal."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
