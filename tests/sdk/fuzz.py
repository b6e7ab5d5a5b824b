"""Run schemathesis against the running service, on each store, with real accounts: `pdm run fuzz`.

The stores are fuzzed concurrently, in every phase including the stateful one, with every check that
`schemathesis.toml` does not disable. The last lines are the results, one for each store.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mongod import given_uri, running_mongod
from tests.sdk.tools import BINARIES, FOLDER
from tests.serving import REPOSITORY, SECRET_KEY, Service, running_service

STORES = ("embedded", "mongodb")
# tokens must outlive a long run, and a single client sends all requests
SETTINGS = {"ACCESS_TOKEN_SECONDS": "86400", "RATE_LIMIT_ENABLED": "false", "LOG_LEVEL": "warning"}


@contextmanager
def service_on(store: str) -> Iterator[Service]:
    """Run a service on a new store."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        if store == "embedded":
            with running_service(folder, SETTINGS) as service:
                yield service
        elif given := given_uri():
            with running_service(folder, SETTINGS | {"STORE_URL": given, "SECRET_KEY": SECRET_KEY}) as service:
                yield service
        else:
            (folder / "mongod").mkdir()
            with running_mongod(folder / "mongod") as (url, _):
                variables = SETTINGS | {"STORE_URL": f"{url}/fuzz", "SECRET_KEY": SECRET_KEY}
                with running_service(folder, variables) as service:
                    yield service


def fuzz(store: str, examples: int, seed: int | None) -> tuple[str, bool]:
    """Run schemathesis on one store.

    Args:
        store: One of `STORES`.
        examples: The maximum number of test cases for each operation and phase.
        seed: The random seed; None for a new one.

    Returns:
        The results as text, and whether there were no failures and no errors.
    """
    with service_on(store) as service, TemporaryDirectory() as reports:
        report = Path(reports) / "report.json"
        command = [str(BINARIES / "schemathesis"), "--config-file", str(FOLDER / "schemathesis.toml"), "run"]
        command += [f"{service.url}/schema/openapi.json", "--max-examples", str(examples), "--no-color"]
        command += ["--report", "json", "--report-json-path", str(report)]
        command += ["--seed", str(seed)] if seed is not None else []
        variables = {
            "SERVICE_URL": service.url,
            "SCHEMATHESIS_HOOKS": "tests.sdk.schemathesis_hooks",
            "PYTHONPATH": str(REPOSITORY),
        }
        done = subprocess.run(
            command,
            env={**os.environ, **variables},
            cwd=reports,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        sys.stdout.write(done.stdout)
        if not report.exists():
            return f"{store}: schemathesis exited with {done.returncode}", False
        found = json.loads(report.read_text())
    phases = {name: phase["status"] for name, phase in found["phases"].items()}
    cases = found["test_cases"]
    figures = (
        f"{store}: {found['operations']['tested']} operations, {cases['generated']} cases, "
        f"{cases['unique_failures']} failures, {cases['errored']} errors; seed {found['seed']}; "
        + ", ".join(f"{name} {status}" for name, status in phases.items())
    )
    good = done.returncode == 0 and set(phases.values()) == {"success"} and cases["generated"] > 0
    return figures, good


def main() -> None:
    """Fuzz each store, and print the results."""
    parser = argparse.ArgumentParser(description=fuzz.__doc__)
    parser.add_argument("--max-examples", type=int, default=100, help="test cases for each operation and phase (100)")
    parser.add_argument("--seed", type=int, help="the random seed (a new one)")
    parser.add_argument("--store", choices=STORES, action="append", help="fuzz only this store")
    options = parser.parse_args()
    with ThreadPoolExecutor() as threads:  # each thread waits for a process
        runs = [threads.submit(fuzz, store, options.max_examples, options.seed) for store in options.store or STORES]
    results = [run.result() for run in runs]
    sys.stdout.write("".join(f"fuzz {figures}\n" for figures, _ in results))
    sys.exit(0 if all(good for _, good in results) else 1)


if __name__ == "__main__":
    main()
