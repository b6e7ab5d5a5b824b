"""A replica set of three members on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bson import Timestamp
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.mongod import START_SECONDS, Mongod

NAME: Final = "faults"
REJOIN_SECONDS: Final = 120
"""The time for a member to roll back and catch up. A member looks for a sync source only now and then."""
HANGING_SECONDS: Final = 30
"""How long a member may make no progress. mongod sometimes hangs in a rollback or after it, until it is restarted."""
OPLOG_MEBIBYTES: Final = 1024
"""The size of a member's oplog. A member whose last entry has left the oplog of all others can never catch up."""
_POLL_SECONDS: Final = 0.05
_PRIMARY: Final = 1
_SECONDARY: Final = 2


class ReplicaSet:
    """Three members, on ports that stay the same across restarts.

    Attributes:
        members: The processes of the members.
        url: The address of the replica set.
    """

    def __init__(self, members: list[Mongod]) -> None:
        self.members = members
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in members)
        self.url = f"mongodb://{hosts}/todo?replicaSet={NAME}"

    def primary(self) -> Mongod:
        """Wait until there is a primary, and return it."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for member in self.members:
                if self._state(member).get("isWritablePrimary"):
                    return member
            time.sleep(_POLL_SECONDS)
        raise AssertionError("the replica set has no primary")

    def await_secondaries(self) -> None:
        """Wait until each member has everything that the primary has now. Before that, the set may not survive another
        failure. Restart members that hang in a rollback, or do not begin to replicate after one.
        """
        deadline = time.monotonic() + REJOIN_SECONDS
        wanted, members = None, []
        unchanged: dict[int, tuple[Any, float]] = {}
        while time.monotonic() < deadline:
            status = self._ask(self.primary(), "replSetGetStatus")
            members = status.get("members", [])
            if wanted is None and members:
                wanted = next((_read_position(member) for member in members if member["state"] == _PRIMARY), None)
            late = [
                number
                for number, member in enumerate(members)
                if member["state"] not in (_PRIMARY, _SECONDARY) or wanted is None or _read_position(member) < wanted
            ]
            if len(members) == len(self.members) and not late:
                return
            self._restart_hanging({number: members[number] for number in late}, unchanged)
            time.sleep(_POLL_SECONDS)
        states = [(member["stateStr"], member["optime"], member.get("infoMessage")) for member in members]
        raise AssertionError(f"a member does not come back: {wanted} is wanted, and there are {states}")

    def _restart_hanging(self, late: dict[int, dict[str, Any]], unchanged: dict[int, tuple[Any, float]]) -> None:
        """Restart members that have made no progress for too long.

        Args:
            late: The status of each member that lags behind, by its number.
            unchanged: The last progress of each member, and since when there was none. It is updated.
        """
        for number, member in late.items():
            progress = (member["state"], member.get("optime"))
            last, since = unchanged.get(number, (None, 0.0))
            if progress != last:
                unchanged[number] = (progress, time.monotonic())
            elif member["state"] != _PRIMARY and time.monotonic() - since > HANGING_SECONDS:
                del unchanged[number]
                self.members[number].kill()
                self.members[number].start()

    def _state(self, member: Mongod) -> dict[str, Any]:
        return self._ask(member, "hello")

    def _ask(self, member: Mongod, command: str) -> dict[str, Any]:
        try:
            with MongoClient[dict[str, Any]](
                member.url, directConnection=True, serverSelectionTimeoutMS=300, timeoutMS=1000
            ) as client:
                return client.admin.command(command)
        except PyMongoError:
            return {}


def _read_position(member: dict[str, Any]) -> tuple[int, Timestamp]:
    """Return the position of a member in the oplog: the term and the timestamp."""
    return member["optime"]["t"], member["optime"]["ts"]


@contextmanager
def running_replica_set(folder: Path, election_milliseconds: int) -> Iterator[ReplicaSet]:
    """Run a replica set until the block ends.

    Args:
        folder: The folder of the members' files.
        election_milliseconds: The time without a primary after which the members elect another.
    """
    members = []
    for number in range(3):
        files = folder / f"member-{number}"
        files.mkdir(parents=True)
        members.append(
            Mongod(files, "--replSet", NAME, "--oplogSize", str(OPLOG_MEBIBYTES), "--wiredTigerCacheSizeGB", "0.25")
        )
    try:
        for member in members:
            member.start()
        with MongoClient[dict[str, Any]](members[0].url, directConnection=True) as client:
            client.admin.command(
                "replSetInitiate",
                {
                    "_id": NAME,
                    "members": [
                        {"_id": number, "host": f"127.0.0.1:{member.port}"} for number, member in enumerate(members)
                    ],
                    "settings": {
                        "electionTimeoutMillis": election_milliseconds,
                        "heartbeatIntervalMillis": election_milliseconds // 4,
                    },
                },
            )
        replicas = ReplicaSet(members)
        replicas.primary()
        replicas.await_secondaries()
        yield replicas
    finally:
        for member in members:
            if hasattr(member, "process"):
                # a primary that is asked to end waits for half a minute for members that are gone
                member.kill()
