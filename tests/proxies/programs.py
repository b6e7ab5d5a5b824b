"""Proxies, run with the configurations that docs/operations.md prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest

from tests.mongod import free_port
from tests.serving import PLAIN_HTTP, REPOSITORY, START_SECONDS, Service

_PAGE: Final = REPOSITORY / "docs" / "operations.md"
_APACHE_MODULES: Final = ("mpm_event", "authz_core", "filter", "proxy", "proxy_http", "headers", "deflate")
_POLL_SECONDS: Final = 0.02


class Program(NamedTuple):
    """A proxy.

    Attributes:
        name: The name, and the language of its configuration on the page.
        command: The executable.
        listen: The part of the printed configuration that says where to listen, and what replaces it: `{port}` is the
            port.
        keep: The part of the printed configuration that removes the prefix, and what the page says to write instead.
        wrap: Returns the complete configuration for a directory, a port and the printed part.
        arguments: The arguments of the executable: `{folder}` is the directory of `configuration`.
        etags: The entity tags of version 1 that a client may get with a compressed response.
    """

    name: str
    command: str
    listen: tuple[str, str]
    keep: tuple[str, str]
    wrap: Callable[[Path, int, str], str]
    arguments: tuple[str, ...]
    etags: tuple[str, ...]


def _wrap_nginx(folder: Path, port: int, configuration: str) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    paths = "".join(f"{name}_temp_path {folder}/{name}; " for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    return (
        f"daemon off; pid {folder}/pid; error_log stderr; {user} events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; {paths}\n{configuration}}}\n"
    )


def _wrap_apache(folder: Path, port: int, configuration: str) -> str:
    modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in _APACHE_MODULES)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    return (
        f"ServerRoot {folder}\nDefaultRuntimeDir {folder}\nPidFile {folder}/pid\nErrorLog {folder}/proxy.log\n"
        f"ServerName 127.0.0.1\nListen 127.0.0.1:{port}\n{modules}{user}{configuration}"
    )


def _wrap_caddy(folder: Path, port: int, configuration: str) -> str:
    return f"{{\n\tadmin off\n\tauto_https off\n}}\n{configuration}"


PROGRAMS: Final = (
    Program(
        "nginx",
        "nginx",
        ("listen 80;", "listen 127.0.0.1:{port};"),
        (":8000/;", ":8000;"),
        _wrap_nginx,
        ("-p", "{folder}", "-e", "stderr", "-c", "{folder}/configuration"),
        ('W/"1"',),
    ),
    Program(
        "apache",
        "apache2",
        ("<VirtualHost *:80>", "<VirtualHost *:{port}>"),
        (':8000/"', ':8000/todo/"'),
        _wrap_apache,
        ("-f", "{folder}/configuration", "-DFOREGROUND"),
        ('"1-gzip"',),
    ),
    Program(
        "caddyfile",
        "caddy",
        ("example.com {{", "http://127.0.0.1:{port} {{"),
        ("handle_path /todo/*", "handle /todo/*"),
        _wrap_caddy,
        ("run", "--adapter", "caddyfile", "--config", "{folder}/configuration"),
        ('"1"', '"1-gzip"'),  # later versions append the coding
    ),
)


def read_configuration(name: str) -> str:
    """Return the configuration that the page prints for a proxy."""
    [found] = re.findall(rf"^```{name}\n(.*?)^```$", _PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


def replace_once(text: str, old: str, new: str) -> str:
    """Return the text with its only occurrence of `old` replaced."""
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
    return text.replace(old, new)


@contextmanager
def running_proxy(program: Program, service: Service, folder: Path, *, keep_prefix: bool) -> Iterator[str]:
    """Run a proxy in front of a service, and return the URL below which it publishes the service.

    Args:
        program: The proxy.
        service: The service.
        folder: An empty directory for the proxy's files.
        keep_prefix: Whether the proxy passes the prefix on.
    """
    executable = shutil.which(program.command) or shutil.which(program.command, path="/usr/sbin:/usr/local/sbin")
    if executable is None:
        pytest.fail(f"{program.command} is not installed, see tests/proxies/__init__.py", pytrace=False)
    port = free_port()
    configuration = read_configuration(program.name)
    listen, replacement = (text.format(port=port) for text in program.listen)
    configuration = replace_once(configuration, listen, replacement)
    if keep_prefix:
        configuration = replace_once(configuration, *program.keep)
    configuration = replace_once(configuration, "127.0.0.1:8000", service.url.removeprefix("http://"))
    (folder / "configuration").write_text(program.wrap(folder, port, configuration))
    arguments = [argument.format(folder=folder) for argument in program.arguments]
    with (folder / "proxy.log").open("a") as log:
        process = subprocess.Popen(
            [executable, *arguments],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "XDG_DATA_HOME": str(folder),
                "XDG_CONFIG_HOME": str(folder),
            },
        )
    url = f"http://127.0.0.1:{port}/todo"
    try:
        _await_proxy(process, url, folder)
        yield url
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _await_proxy(process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
        assert process.poll() is None, (folder / "proxy.log").read_text()
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health/live", verify=PLAIN_HTTP).status_code == 200:
                return
        assert time.monotonic() < deadline, (folder / "proxy.log").read_text()
