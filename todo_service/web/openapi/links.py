"""Links from one operation to the next."""

from __future__ import annotations

import re

from todo_service.web.openapi.document import Json, iterate_operations


def add_links(paths: Json, schemas: dict[str, Json]) -> None:
    """Lead from a new document to what can be done with it, and from a page to the next."""
    for path, operation in iterate_operations(paths):
        links: Json = {}
        below = [
            (other, further)
            for other, further in iterate_operations(paths)
            if "201" in operation["responses"] and re.match(re.escape(path) + r"/\{\w+\}", other)
        ]
        for other, further in below:
            name = other.removeprefix(path).split("{")[1].split("}")[0]
            links[further["operationId"]] = {
                "operationId": further["operationId"],
                "description": f"{further['summary']}, by its id.",
                "parameters": {f"path.{name}": "$response.body#/id"},
            }
        names = {parameter.get("name") for parameter in operation["parameters"]}
        for parameter, field in (("cursor", "next_cursor"), ("since", "next")):
            if parameter in names:
                links["next"] = {
                    "operationId": operation["operationId"],
                    "description": "What comes next.",
                    "parameters": {f"query.{parameter}": f"$response.body#/{field}"},
                }
        if links:
            status = "201" if "201" in operation["responses"] else "200"
            operation["responses"][status]["links"] = links
