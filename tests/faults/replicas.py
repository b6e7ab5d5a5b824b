"""A replica set of three members on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.mongod import START_SECONDS, Mongod

NAME = "faults"


class ReplicaSet:
    """Three members, on ports that they keep.

    Attributes:
        members: Their processes.
        url: The address of the whole set.
    """

    def __init__(self, members: list[Mongod]) -> None:
        self.members = members
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in members)
        self.url = f"mongodb://{hosts}/todo?replicaSet={NAME}"

    def primary(self) -> Mongod:
        """Return the member that takes writes; wait for one."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for member in self.members:
                if self._state(member).get("isWritablePrimary"):
                    return member
        raise AssertionError("the replica set has no primary")

    def await_secondaries(self) -> None:
        """Return when each member but the primary follows it."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            states = [self._state(member) for member in self.members]
            if sum(bool(state.get("secondary")) for state in states) == len(states) - 1:
                return
        raise AssertionError("a member does not come back")

    def _state(self, member: Mongod) -> dict[str, Any]:
        try:
            with MongoClient[dict[str, Any]](
                member.url, directConnection=True, serverSelectionTimeoutMS=300, timeoutMS=500
            ) as client:
                return client.admin.command("hello")
        except PyMongoError:
            return {}


@contextmanager
def running_replica_set(folder: Path, election_milliseconds: int) -> Iterator[ReplicaSet]:
    """Run a replica set until the block ends.

    Args:
        folder: Where the files lie.
        election_milliseconds: How long its members miss a primary before they elect another.
    """
    members = []
    for number in range(3):
        files = folder / f"member-{number}"
        files.mkdir(parents=True)
        members.append(Mongod(files, "--replSet", NAME, "--oplogSize", "64", "--wiredTigerCacheSizeGB", "0.25"))
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
                member.resume()
                member.stop()
