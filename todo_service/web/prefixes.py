"""The prefix of the service's URLs, from `ROOT_PATH` or from the `X-Forwarded-Prefix` of a trusted proxy.

The application itself knows paths without the prefix only: it is removed from the path of a request if the proxy has
not done so, and put before the paths of a response. ASGI's `root_path` stays empty, because Uvicorn would add it to
every path, and Litestar would look for it anywhere in the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from todo_service.url_prefix import parse_prefix

if TYPE_CHECKING:
    from litestar.types import Scope

    from todo_service.web.proxies import Proxies


class Prefixes:
    """Resolves the prefix of each request.

    Args:
        root_path: The prefix of all requests in normal form (see `url_prefix`), or "" to read it from the header.
        proxies: The proxies whose header is read; None for no proxies.
    """

    def __init__(self, root_path: str, proxies: Proxies | None) -> None:
        self._root_path = root_path
        self._proxies = None if root_path else proxies

    @property
    def vary(self) -> bool:
        """Whether the prefix depends on the request."""
        return self._proxies is not None

    def apply(self, scope: Scope) -> None:
        """Store the prefix of a request in its state, and remove it from the path if the path begins with it."""
        prefix = self._root_path if self._proxies is None else self._read_header(scope, self._proxies)
        scope["state"]["prefix"] = prefix
        if prefix:
            path, decoded = scope["path"], unquote(prefix)
            if path == decoded or path.startswith(f"{decoded}/"):
                scope["path"] = path[len(decoded) :] or "/"

    def _read_header(self, scope: Scope, proxies: Proxies) -> str:
        """Return the prefix in `X-Forwarded-Prefix`, or "" if there is none.

        A header that is malformed or repeated is ignored: the client may have sent it.
        """
        values = [value for name, value in scope["headers"] if name == b"x-forwarded-prefix"]
        if len(values) != 1 or not proxies.is_peer_trusted(scope):
            return ""
        try:
            return parse_prefix(values[0].decode("ascii").strip())
        except ValueError:
            return ""


def get_prefix(scope: Scope) -> str:
    """Return the prefix to put before the paths in a response, or ""."""
    prefix: str = scope["state"]["prefix"]
    return prefix
