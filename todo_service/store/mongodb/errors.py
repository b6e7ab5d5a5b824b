"""Translate the driver's errors into the store's.

A message contains the name of an error, but no text of the server, so that no stored data leaks. It contains text of
the driver only if the address is invalid, and then without the password.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dns.exception import Timeout
from dns.resolver import NXDOMAIN, NoAnswer, NoNameservers, NoResolverConfiguration
from odmantic import Model
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
    WriteError,
)

from todo_service.store.errors import DuplicateDocument, StoreError, StoreUnavailable, StoreUnusable

SNAPSHOT_GONE: Final = (239, 246)
"""Error codes of a snapshot that the server no longer holds. By default it holds one for five minutes."""
NOT_FOUND: Final = (26, 27)
"""Error codes of a missing collection or index."""
_DNS_ERRORS: Final = (NXDOMAIN, NoAnswer, NoNameservers, NoResolverConfiguration, Timeout)
_DUPLICATE_KEY: Final = 11000
_UNAUTHORIZED: Final = (13, 18, 8000)
"""Error codes of a wrong password or a missing role. Retrying does not help."""
_TRANSIENT: Final = (6, 7, 20, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436)
"""Error codes that a retry may clear: members that start, stop, lose each other or elect a new primary. The driver
causes 20 when it takes a standalone server for a member of a replica set after its connections broke."""


def translate_error(error: Exception, model: type[Model] | None) -> StoreError:
    """Return the store's error for an error of the driver.

    Args:
        error: The driver's error.
        model: The model whose documents were written, or None for a read.
    """
    match error:
        case BulkWriteError():
            first = ((error.details or {}).get("writeErrors") or [{}])[0]
            if first.get("code") == _DUPLICATE_KEY:
                return translate_error(build_write_error(first), model)
            return StoreUnavailable("MongoDB did not carry out all writes")
        case DuplicateKeyError():
            assert model is not None  # only writes of a model's documents raise it
            return DuplicateDocument(model.__name__, _find_duplicate_field(model, error.details))
        case ConnectionFailure() | ExecutionTimeout() | WriteConcernError():
            return StoreUnavailable(f"MongoDB does not respond: {type(error).__name__}")
        case OperationFailure():
            name = error.details and error.details.get("codeName")
            if error.code in _UNAUTHORIZED:
                return StoreUnusable(f"MongoDB denies access: {name}")
            if error.timeout or error.code in _TRANSIENT:
                return StoreUnavailable("MongoDB does not respond in time")
            return StoreError(f"MongoDB refused the call: {name}")
        case ConfigurationError() if isinstance(error.__cause__, _DNS_ERRORS):
            # the network may start after the service
            return StoreUnavailable(f"the host of the address cannot be resolved: {type(error.__cause__).__name__}")
        case ConfigurationError():
            return StoreUnusable(f"the address of MongoDB cannot be used: {redact_address_error(error)}")
        case PyMongoError():
            return StoreUnavailable(f"MongoDB cannot be used: {type(error).__name__}")
        case _:
            return StoreError(f"the MongoDB driver failed: {type(error).__name__}")


def build_write_error(details: Mapping[str, Any]) -> WriteError:
    """Return the driver's exception for one failed write of a bulk write."""
    kind = DuplicateKeyError if details.get("code") == _DUPLICATE_KEY else WriteError
    return kind(str(details.get("errmsg")), details.get("code"), details)


def redact_address_error(error: Exception) -> str:
    """Return the driver's message about an address without the part before the `@`, which may hold a password."""
    return str(error).split("\n", 1)[0].rsplit("@", 1)[-1]


def _find_duplicate_field(model: type[Model], details: Mapping[str, Any] | None) -> str:
    key = list((details or {}).get("keyPattern", {"_id": 1}))[-1]
    return next(name for name, field in model.__odm_fields__.items() if field.key_name == key)
