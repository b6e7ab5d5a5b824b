"""The docs page: Swagger UI, served from this package under a policy that blocks every other host.

The files in `swagger/` come from npm's `swagger-ui-dist` (Apache-2.0, see LICENSE and NOTICE there), except for our
`init.js`. To update them, run `npm install --prefix tests/sdk --save-exact swagger-ui-dist@5`, then
`pdm run swagger-ui`. Tests compare them to the version in `tests/sdk/package.json`, and open the page in a browser.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from litestar import Controller, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from todo_service.web.prefixes import get_prefix
from todo_service.web.requests import ApiRequest
from todo_service.web.route_options import PUBLIC

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MEDIA_TYPES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
    "init.js": "text/javascript",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>todo_service</title>
<link rel="icon" href="{prefix}/docs/favicon-32x32.png">
<link rel="stylesheet" href="{prefix}/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{prefix}/docs/swagger-ui-bundle.js"></script>
<script src="{prefix}/docs/init.js"></script>
</body>
</html>
"""


class DocsController(Controller):
    """The docs page and its files."""

    path = "/docs"
    opt = {PUBLIC: True}
    include_in_schema = False

    @get("/", media_type="text/html")
    async def page(self, request: ApiRequest) -> Response[str]:
        """Return the page that shows the OpenAPI document with Swagger UI."""
        page = _PAGE.format(prefix=get_prefix(request.scope))
        return Response(page, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"})

    @get("/{name:str}")
    async def file(self, name: FromPath[str]) -> Response[bytes]:
        """Return a file of the page."""
        if name not in _MEDIA_TYPES:
            raise NotFoundException
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "public, max-age=3600"}
        return Response(_content(name), media_type=_MEDIA_TYPES[name], headers=headers)


@cache
def _content(name: str) -> bytes:
    return (files("todo_service.web") / "swagger" / name).read_bytes()
