"""Guessing passwords is slow, and cannot lock anybody out."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from litestar import Litestar

from tests.people import Person, assert_problem
from tests.web.test_limits import connection_from, guess
from todo_service.errors import InvalidGrant
from todo_service.rate_limits.concurrency import ConcurrencyLimiter
from todo_service.rate_limits.counters import LocalCounter
from todo_service.rate_limits.password_attempts import account_key, limit_password_attempts
from todo_service.rate_limits.policies import RateLimits, parse_policies
from todo_service.settings import Settings, load_settings
from todo_service.web.problems import ProblemError

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    variables = {"RATE_LIMIT_API": "2000/month", "RATE_LIMIT_AUTH": "2/month"}
    return load_settings({"DATA_DIR": str(tmp_path), "STORE_URL": store_url} | variables)


async def test_guesses_from_one_address_do_not_lock_out_other_addresses(app: Litestar, ada: Person) -> None:
    async with connection_from(app, "198.51.100.1") as attacker:
        statuses = [(await guess(attacker, name)).status_code for name in (ada.username, ada.email, ada.username)]
        assert_problem(await guess(attacker, ada.username, ada.password), 429)
    assert statuses == [400, 400, 429]

    for name in (ada.username, ada.email):
        async with connection_from(app, "203.0.113.1") as owner:
            assert (await guess(owner, name, ada.password)).status_code == 200


@pytest.mark.parametrize("form", ["198.51.100.{}", "2001:db8:0:{:x}::1"])
async def test_guesses_from_many_addresses_do_not_lock_out_the_owner(app: Litestar, ada: Person, form: str) -> None:
    evaluated = 0
    for number in range(30):
        async with connection_from(app, form.format(number)) as attacker:
            for _ in range(3):
                evaluated += (await guess(attacker, ada.username)).status_code == 400

    # 20 until the account is under attack, then two for each network (a /48 for IPv6)
    assert evaluated == (60 if "." in form else 22)
    async with connection_from(app, "2001:db8:1::1") as owner:
        assert (await guess(owner, ada.email)).status_code == 400
        assert (await guess(owner, ada.username, ada.password)).status_code == 200
        assert (await guess(owner, ada.email)).status_code == 400
        assert_problem(await guess(owner, ada.email), 429)


async def test_the_names_and_the_email_of_an_account_share_its_budgets(app: Litestar, ada: Person) -> None:
    names = (ada.username, ada.email, ada.username.upper(), f" {ada.email.upper()} ")
    evaluated = 0
    for number in range(30):
        async with connection_from(app, f"2001:db8:0:{number:x}::1") as attacker:
            statuses = [(await guess(attacker, name)).status_code for name in names]
        assert statuses[2:] == [429, 429]
        evaluated += statuses.count(400)

    # 20 until the account is under attack, then two for the /48 of all these addresses
    assert evaluated == 22
    for name in names:
        async with connection_from(app, "203.0.113.1") as owner:
            assert (await guess(owner, name, ada.password)).status_code == 200


async def test_one_address_cannot_try_one_password_on_every_account(client: httpx.AsyncClient) -> None:
    statuses = [(await guess(client, f"nobody-{number}")).status_code for number in range(11)]

    assert statuses == [400] * 10 + [429]


async def test_responses_do_not_reveal_whether_a_name_and_an_email_belong_together(ada: Person) -> None:
    headers = []
    for names in ((ada.username, ada.email), ("nobody", "nobody@example.com")):
        responses = [await guess(ada.client, name) for name in names]
        headers.append([response.headers["ratelimit"].split(";t=")[0] for response in responses])

    assert headers == [['"auth-address";r=9', '"auth-address";r=8'], ['"auth-address";r=7', '"auth-address";r=6']]


async def test_password_confirmation_shares_the_limit_of_signing_in(app: Litestar, ada: Person) -> None:
    body = {"current_password": "wrong", "new_password": "correct horse battery"}
    header = {"Authorization": f"Bearer {ada.access_token}"}
    async with connection_from(app, "198.51.100.1") as thief:
        for status in (403, 403, 429):
            response = await thief.post("/v1/users/me/password", json=body, headers=header)
            assert_problem(response, status)
        assert_problem(await guess(thief, ada.username), 429)
    right = await ada.post("/v1/users/me/password", json=body | {"current_password": ada.password})
    assert right.status_code == 204


async def test_three_hundred_addresses_have_a_bounded_number_of_attempts() -> None:
    rate_limits = RateLimits(parse_policies("600/minute", "10/month"), LocalCounter(), lambda _: None)
    account = account_key(None, "Ada")
    evaluated = 0
    for _ in range(20):
        for number in range(300):
            evaluated += await is_evaluated(rate_limits, f"198.51.{number // 200}.{number % 200}", account)

    assert evaluated <= 100 + 2 * 300
    assert await is_evaluated(rate_limits, "203.0.113.1", account_key(None, " ada "))


async def test_whitespace_around_a_name_does_not_reveal_whether_an_account_exists(app: Litestar, ada: Person) -> None:
    statuses = []
    for number, name in enumerate([ada.username, "nobody-of-this-name"]):
        async with connection_from(app, f"198.51.100.{number + 1}") as attacker:
            texts = (name, name, f" {name}", f"{name} ", f"{name}\u200b")
            statuses.append([(await guess(attacker, text)).status_code for text in texts])

    assert statuses == [[400, 400, 429, 429, 429]] * 2


async def test_name_is_trimmed_before_signing_in(app: Litestar, ada: Person) -> None:
    async with connection_from(app, "198.51.100.1") as client:
        response = await guess(client, f" {ada.username} ", ada.password)

    assert response.status_code == 200


async def is_evaluated(rate_limits: RateLimits, address: str, account: str) -> bool:
    """Try a wrong password, and return whether the rate limits allow it to be verified."""
    scope = {"type": "http", "client": (address, 50000), "state": {"headers": {}}}
    try:
        async with limit_password_attempts(rate_limits, ConcurrencyLimiter(), scope, account, InvalidGrant):  # type: ignore[arg-type]  # a partial scope
            raise InvalidGrant
    except InvalidGrant:
        return True
    except ProblemError:
        return False
