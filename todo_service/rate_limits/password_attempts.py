"""Rate limits for wrong passwords.

Each wrong password counts against three budgets; a correct one is refunded to all of them.

1. By account and address: `RATE_LIMIT_AUTH`, for example 10 per minute.
2. By address, across all accounts: five times that, so that one address cannot try one password on many accounts.
3. By account, across all addresses: ten times that. Once it is used up, the account is *under attack*, and each network
   may try two wrong passwords for it in fifteen periods (a quarter of an hour), whatever the first budget allows.

Attackers cannot use this to lock an owner out. Wrong passwords from other networks never affect an owner whose own
network has not used up its two tries: the correct password is accepted at the first try, no matter how many networks
attack. An attacker who shares the owner's address can delay the owner there, and nowhere else.

Brute force stays slow: one address has 10 tries a minute for an account. All addresses together have 100, and then two
for each network in a quarter of an hour. For IPv6, that network is a /48 rather than a /64, because one customer of a
provider may have 65,536 of the latter.

An account is counted by its id, so its username and its email share a budget. A name without an account is counted by
its text, in the same way. The response headers describe the second budget, which does not depend on the account. If the
first budget, or that of an attacked account, is used up, they describe that one instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from odmantic import ObjectId

from todo_service.rate_limits.concurrency import ConcurrencyLimiter
from todo_service.rate_limits.policies import RateLimits, response_headers
from todo_service.text import fold_login
from todo_service.web.client_address import SITE_PREFIX, get_client_network

if TYPE_CHECKING:
    from litestar.types import Scope


@asynccontextmanager
async def limit_password_attempts(
    rate_limits: RateLimits, limiter: ConcurrencyLimiter, scope: Scope, account: str, failure: type[Exception]
) -> AsyncIterator[None]:
    """Run a block that verifies a password, within the budgets for wrong passwords.

    Args:
        rate_limits: The rate limits.
        limiter: As in `limit_password_hashing`.
        scope: The ASGI scope of the request.
        account: The account, from `account_key`.
        failure: The exception that the block raises for a wrong password.

    Raises:
        ProblemError: 429, a budget is used up, or the wait for a slot took too long.
    """
    network, site = get_client_network(scope), get_client_network(scope, SITE_PREFIX)
    async with (
        limit_password_hashing(limiter, scope),
        rate_limits.reserve(response_headers(scope), failure) as reservation,
    ):
        await reservation.take("auth", f"{account}@{network}", describe=False)
        await reservation.take("auth-address", f"address:{network}")
        if not await reservation.try_take("auth-account", account):
            await reservation.take("auth-attacked", f"{account}@{site}", describe=False)
        yield


def limit_password_hashing(limiter: ConcurrencyLimiter, scope: Scope) -> AbstractAsyncContextManager[None]:
    """Limit the passwords that are hashed concurrently for one address, so that it cannot fill the shared queue.

    Args:
        limiter: Limits the concurrent hashes of each address.
        scope: The ASGI scope of the request.
    """
    return limiter.slot(get_client_network(scope, SITE_PREFIX))


def account_key(account_id: ObjectId | None, name: str = "") -> str:
    """Return the rate limit key of an account, or of a name without an account.

    Args:
        account_id: The account's id, or None if no account has the name.
        name: The name as the client sent it. The key contains a hash of it, because it can be any text.
    """
    if account_id is not None:
        return f"account:{account_id}"
    return f"name:{hashlib.sha256(fold_login(name).encode(errors='surrogatepass')).hexdigest()[:24]}"
