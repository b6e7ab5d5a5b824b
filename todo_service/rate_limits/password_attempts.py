"""How often a wrong password may be tried.

Each wrong password counts in three budgets. A right one is given back in all of them.

1. By account and address: `RATE_LIMIT_AUTH`, as 10 a minute.
2. By address, for all accounts together: five times that, so that one address cannot try one password on many accounts.
3. By account, from all addresses together: ten times that. When it is used up the account is *under attack*, and each
   network has two wrong passwords for it in fifteen periods (a quarter of an hour), whatever the first budget allows.

This is no lock-out weapon: wrong passwords from elsewhere never refuse an owner whose own network has not used up its
two tries, so the right password is accepted at the first try, however many networks attack. An attacker who shares the
owner's address can hold up the owner there, and nowhere else.

Brute force stays slow: one address has 10 tries a minute for an account, and all addresses together have 100, then two
for each network in a quarter of an hour. In IPv6 that network is a /48 and not a /64, since one customer
of a provider may have 65 536 of those.

An account counts by its id, so that its name and its email share a budget; a name that no account has counts by its
text, in the same way. The headers describe the second budget alone, which does not depend on the account.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from odmantic import ObjectId

from todo_service.rate_limits.concurrency import ConcurrentRequestLimit
from todo_service.rate_limits.policies import RateLimits, response_headers
from todo_service.web.client_address import SITE_PREFIX, get_client_network

if TYPE_CHECKING:
    from litestar.types import Scope


@asynccontextmanager
async def password_attempt(
    rate_limits: RateLimits, turns: ConcurrentRequestLimit, scope: Scope, account: str, failure: type[Exception]
) -> AsyncIterator[None]:
    """Check a password within its budgets.

    Args:
        rate_limits: The rate limits.
        turns: Whose turn it is; see `password_turn`.
        scope: The ASGI scope of the request.
        account: Who is to sign in, from `account_key`.
        failure: What a wrong password raises.

    Raises:
        ProblemError: 429, a budget is used up, or the turn does not come.
    """
    network, site = get_client_network(scope), get_client_network(scope, SITE_PREFIX)
    async with password_turn(turns, scope), rate_limits.reserving(response_headers(scope), failure) as reservation:
        await reservation.take("auth", f"{account}@{network}", describe=False)
        await reservation.take("auth-address", f"address:{network}")
        if not await reservation.take_if_allowed("auth-account", account):
            await reservation.take("auth-attacked", f"{account}@{site}", describe=False)
        yield


def password_turn(turns: ConcurrentRequestLimit, scope: Scope) -> AbstractAsyncContextManager[None]:
    """Hash a password when it is its turn: one address cannot fill the queue that all share.

    Args:
        turns: How many each address may have at a time.
        scope: The ASGI scope of the request.
    """
    return turns.slot(get_client_network(scope, SITE_PREFIX))


def account_key(account_id: ObjectId | None, name: str = "") -> str:
    """Return the key of an account, or of a name that no account has.

    Args:
        account_id: The account's id, if there is one.
        name: The name as it was typed; it may be any text, so the key is not the text itself.
    """
    if account_id is not None:
        return f"account:{account_id}"
    return f"name:{hashlib.sha256(name.strip().casefold().encode(errors='surrogatepass')).hexdigest()[:24]}"
