"""The endpoints of accounts, sessions and API keys."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from todo_service.accounts import dto
from todo_service.accounts.api_keys import ApiKeys
from todo_service.accounts.documents import User
from todo_service.accounts.middleware import require_session
from todo_service.accounts.registrations import Registrations
from todo_service.accounts.service import Accounts
from todo_service.accounts.sessions import Client, Sessions, Tokens
from todo_service.api_types import PageQuery
from todo_service.errors import Forbidden, InvalidGrant, Unauthenticated
from todo_service.idempotency.derivation import derive_idempotent_id, derive_secret, get_first_attempt
from todo_service.idempotency.replays import require_document
from todo_service.rate_limits.concurrency import ConcurrencyLimiter
from todo_service.rate_limits.password_attempts import account_key, limit_password_attempts, limit_password_hashing
from todo_service.rate_limits.policies import RateLimits
from todo_service.store.paging import CreationPosition
from todo_service.web.client_address import get_client_address
from todo_service.web.cursors import respond_with_page
from todo_service.web.entity_tags import entity_tag, parse_conditions, parse_if_match, respond_with_tag
from todo_service.web.oauth import REVOCATION_PATH, TOKEN_PATH
from todo_service.web.openapi.config import declare_headers, declare_problems
from todo_service.web.problems import FieldError, ProblemError
from todo_service.web.requests import ApiRequest, QueryRequest
from todo_service.web.route_options import (
    BUCKET,
    CONFIDENTIAL_BODY,
    FORM,
    IDEMPOTENT,
    NO_TIMEOUT,
    ON_REPLAY,
    PUBLIC,
    RERUN,
    SESSION_ONLY,
)


class UsersController(Controller):
    """Registration and the caller's account."""

    path = "/v1/users"
    tags = ["Users"]

    @post(
        "/",
        operation_id="createUser",
        summary="Register",
        opt={PUBLIC: True, IDEMPOTENT: True, ON_REPLAY: require_document(User)},
        responses=declare_problems(400, 403, 409, 410, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag", "Location"),
    )
    async def create_user(
        self,
        request: ApiRequest,
        data: JSONBody[dto.UserCreate],
        registrations: NamedDependency[Registrations],
        password_limiter: NamedDependency[ConcurrencyLimiter],
    ) -> Response[dto.User]:
        """Create an account. Username and email are unique, ignoring case. The service may require an invitation."""
        async with limit_password_hashing(password_limiter, request.scope):
            user = await registrations.register(data, derive_idempotent_id(request))
        return Response(user, headers={"Location": "/v1/users/me", "ETag": entity_tag(user)})

    @get(
        "/me",
        operation_id="getMe",
        summary="Get your account",
        responses=declare_problems(401, 404, 412, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def get_me(self, request: ApiRequest, accounts: NamedDependency[Accounts]) -> Response[dto.User]:
        """Get the account of the caller."""
        return respond_with_tag(request, await accounts.get(request.user.user_id))

    @patch(
        "/me",
        operation_id="updateMe",
        summary="Update your account",
        responses=declare_problems(400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def update_me(
        self, request: ApiRequest, data: JSONBody[dto.UserUpdate], accounts: NamedDependency[Accounts]
    ) -> Response[dto.User]:
        """Apply a merge patch to email, display name and time zone. Changing the email requires a session."""
        if data.email is not UNSET:
            require_session(request.user, "changing the email")
        user = await accounts.update(request.user.user_id, data, parse_conditions(request))
        return Response(user, headers={"ETag": entity_tag(user)})

    @delete(
        "/me",
        operation_id="deleteMe",
        opt={SESSION_ONLY: True, NO_TIMEOUT: True},
        summary="Delete your account",
        responses=declare_problems(400, 401, 403, 404, 412, 413, 415, 422, 429, 503),
    )
    async def delete_me(
        self,
        request: ApiRequest,
        data: JSONBody[dto.UserDelete],
        accounts: NamedDependency[Accounts],
        limits: NamedDependency[RateLimits],
        password_limiter: NamedDependency[ConcurrencyLimiter],
    ) -> None:
        """Delete the account and everything it owns. Requires the password."""
        account = account_key(request.user.user_id)
        async with limit_password_attempts(limits, password_limiter, request.scope, account, Forbidden):
            await accounts.delete(request.user.user_id, data.password, parse_conditions(request))

    @post(
        "/me/password",
        operation_id="changePassword",
        opt={SESSION_ONLY: True, IDEMPOTENT: True, CONFIDENTIAL_BODY: True},
        summary="Change your password",
        status_code=204,
        responses=declare_problems(400, 401, 403, 404, 410, 412, 413, 415, 422, 429, 503),
    )
    async def change_password(
        self,
        request: ApiRequest,
        data: JSONBody[dto.PasswordChange],
        accounts: NamedDependency[Accounts],
        limits: NamedDependency[RateLimits],
        password_limiter: NamedDependency[ConcurrencyLimiter],
    ) -> None:
        """Set a new password. All other sessions end."""
        account = account_key(request.user.user_id)
        async with limit_password_attempts(limits, password_limiter, request.scope, account, Forbidden):
            await accounts.change_password(
                request.user.user_id,
                data,
                request.user.session_id,
                parse_if_match(request),
                derive_idempotent_id(request),
                get_first_attempt(request),
            )


class TokensController(Controller):
    """The token and revocation endpoints of OAuth 2 (RFC 6749, RFC 7009).

    Every client is a public client, so there are none to register. The id and the secret that OAuth libraries send, in
    the form or with HTTP Basic, are ignored, and so is the scope: a session may do everything.
    """

    tags = ["Sessions"]
    # a bucket of its own, so that other requests from the address do not block signing in or refreshing
    opt = {PUBLIC: True, BUCKET: "token"}

    @post(
        TOKEN_PATH,
        operation_id="createToken",
        summary="Sign in or refresh tokens",
        opt={FORM: dto.TokenRequest},
        status_code=200,
        responses=declare_problems(400, 413, 415, 429, 503),
    )
    async def create_token(
        self,
        request: ApiRequest,
        accounts: NamedDependency[Accounts],
        sessions: NamedDependency[Sessions],
        limits: NamedDependency[RateLimits],
        password_limiter: NamedDependency[ConcurrencyLimiter],
    ) -> Response[dto.TokenPair]:
        """Issue tokens for a username and password, or for a refresh token (RFC 6749).

        A refresh token can be used once. A client that lost the response may send it again for a minute, unless its
        successor has been used. There are no clients to register: a client id, a client secret and a scope are ignored.
        """
        form = await request.form_fields()
        client = Client(get_client_address(request.scope), request.headers.get("user-agent", ""))
        match form.get("grant_type"):
            case "password":
                name, password = _require_field(form, "username"), _require_field(form, "password")
                tokens = await self._sign_in(request, accounts, limits, password_limiter, name, password, client)
            case "refresh_token":
                tokens = await sessions.refresh(_require_field(form, "refresh_token"), client)
            case None | "":
                raise _create_missing_field_problem("grant_type")
            case _:
                raise ProblemError("unsupported-grant-type", "grant_type must be password or refresh_token")
        pair = dto.TokenPair(tokens.access, "Bearer", tokens.expires_in, tokens.refresh)
        return Response(pair, headers={"Pragma": "no-cache"})  # RFC 6749, section 5.1

    async def _sign_in(
        self,
        request: ApiRequest,
        accounts: Accounts,
        limits: RateLimits,
        password_limiter: ConcurrencyLimiter,
        name: str,
        password: str,
        client: Client,
    ) -> Tokens:
        """Sign in, within the budgets for wrong passwords."""
        account = account_key(await accounts.find_id(name), name)
        async with limit_password_attempts(limits, password_limiter, request.scope, account, InvalidGrant):
            return await accounts.sign_in(name, password, client)

    @post(
        REVOCATION_PATH,
        operation_id="revokeToken",
        summary="Sign out",
        opt={FORM: dto.TokenRevocation},
        status_code=200,
        responses=declare_problems(400, 413, 415, 429, 503),
    )
    async def revoke_token(self, request: ApiRequest, sessions: NamedDependency[Sessions]) -> Response[None]:
        """End the session of a refresh token or an access token. An invalid token is not an error."""
        await sessions.revoke(_require_field(await request.form_fields(), "token"))
        # an empty body (RFC 7009, section 2.2); some clients reject other media types even then
        return Response[Any](b"", status_code=200, media_type=MediaType.JSON)


class SessionsController(Controller):
    """The sessions of the caller's account."""

    path = "/v1/sessions"
    tags = ["Sessions"]

    @get(
        "/",
        operation_id="listSessions",
        summary="List sessions",
        opt={SESSION_ONLY: True},
        responses=declare_problems(401, 403, 422, 429, 503),
        response_headers=declare_headers("Link"),
    )
    async def list_sessions(
        self, request: QueryRequest[PageQuery], sessions: NamedDependency[Sessions]
    ) -> Response[dto.SessionPage]:
        """List the sessions of the account, newest first."""
        query = request.parameters()
        context = b"sessions" + request.user.user_id.binary
        after = request.cursors.open(query.cursor, CreationPosition, context)
        items, position = await sessions.read_page(request.user, query.limit, after)
        return respond_with_page(request, dto.SessionPage(items, request.cursors.seal_next(position, context)))

    @delete(
        "/",
        operation_id="deleteSessions",
        opt={SESSION_ONLY: True},
        summary="Sign out everywhere",
        responses=declare_problems(401, 403, 422, 429, 503),
    )
    async def delete_sessions(self, request: ApiRequest, sessions: NamedDependency[Sessions]) -> None:
        """End all sessions, including this one."""
        await sessions.end_all(request.user.user_id)

    @delete(
        "/{session_id:str}",
        operation_id="deleteSession",
        opt={SESSION_ONLY: True},
        summary="End a session",
        responses=declare_problems(401, 403, 404, 422, 429, 503),
    )
    async def delete_session(
        self, request: ApiRequest, session_id: FromPath[str], sessions: NamedDependency[Sessions]
    ) -> None:
        """End a session. Its tokens stop working."""
        await sessions.end(request.user.user_id, session_id)


class ApiKeysController(Controller):
    """Named, long-lived keys for scripts and SDKs."""

    path = "/v1/api-keys"
    tags = ["API keys"]

    @post(
        "/",
        operation_id="createApiKey",
        summary="Create an API key",
        opt={SESSION_ONLY: True, IDEMPOTENT: RERUN},
        responses=declare_problems(400, 401, 403, 409, 410, 413, 415, 422, 429, 503),
        response_headers=declare_headers("Location"),
    )
    async def create_api_key(
        self,
        request: ApiRequest,
        data: JSONBody[dto.ApiKeyCreate],
        api_keys: NamedDependency[ApiKeys],
        sessions: NamedDependency[Sessions],
    ) -> Response[dto.ApiKeyCreated]:
        """Create a key. Its secret is a bearer token, and is shown only once."""
        caller = request.user
        # the key outlives the session, so check in the store that no other process has ended the session
        await sessions.confirm_alive(caller.session_id)
        created = await api_keys.create(caller.user_id, data, derive_secret(request))
        try:
            await sessions.confirm_alive(caller.session_id)
        except Unauthenticated:
            await api_keys.delete(caller.user_id, created.id)
            raise
        return Response(created, headers={"Location": f"/v1/api-keys/{created.id}"})

    @get(
        "/",
        operation_id="listApiKeys",
        summary="List API keys",
        responses=declare_problems(401, 422, 429, 503),
        response_headers=declare_headers("Link"),
    )
    async def list_api_keys(
        self, request: QueryRequest[PageQuery], api_keys: NamedDependency[ApiKeys]
    ) -> Response[dto.ApiKeyPage]:
        """List the API keys of the account without their secrets, newest first."""
        query = request.parameters()
        context = b"api-keys" + request.user.user_id.binary
        after = request.cursors.open(query.cursor, CreationPosition, context)
        items, position = await api_keys.read_page(request.user.user_id, query.limit, after)
        return respond_with_page(request, dto.ApiKeyPage(items, request.cursors.seal_next(position, context)))

    @delete(
        "/{key_id:str}",
        operation_id="deleteApiKey",
        summary="Delete an API key",
        opt={SESSION_ONLY: True},
        responses=declare_problems(401, 403, 404, 422, 429, 503),
    )
    async def delete_api_key(
        self, request: ApiRequest, key_id: FromPath[str], api_keys: NamedDependency[ApiKeys]
    ) -> None:
        """Delete a key."""
        await api_keys.delete(request.user.user_id, key_id)


def _require_field(form: dict[str, str], name: str) -> str:
    if not form.get(name):
        raise _create_missing_field_problem(name)
    return form[name]


def _create_missing_field_problem(name: str) -> ProblemError:
    missing = FieldError(pointer=f"/{name}", detail="this field is required")
    return ProblemError("malformed-request", f"{name} is missing", errors=[missing])
