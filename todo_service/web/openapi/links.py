"""Links between operations."""

from __future__ import annotations

import re

from todo_service.web.openapi.document import Json, iterate_operations


def add_links(paths: Json) -> None:
    """Link a new document to the operations on it, and a page to the next page."""
    for path, operation in iterate_operations(paths):
        links: Json = {}
        targets = [
            (other, target)
            for other, target in iterate_operations(paths)
            if "201" in operation["responses"] and re.fullmatch(re.escape(path) + r"/\{\w+\}[^{]*", other)
        ]
        for other, target in targets:
            name = other.removeprefix(path).split("{")[1].split("}")[0]
            links[target["operationId"]] = {
                "operationId": target["operationId"],
                "description": f"{target['summary']}, by its id.",
                "parameters": {f"path.{name}": "$response.body#/id"},
            }
        is_page = "application/json" in operation["responses"].get("200", {}).get("content", {})
        names = {parameter.get("name") for parameter in operation["parameters"]} if is_page else set()
        for parameter, field in (("cursor", "next_cursor"), ("since", "next")):
            if parameter in names:
                links["next"] = {
                    "operationId": operation["operationId"],
                    "description": "The next page.",
                    "parameters": {f"query.{parameter}": f"$response.body#/{field}"},
                }
        if links:
            status = "201" if "201" in operation["responses"] else "200"
            operation["responses"][status]["links"] = links
