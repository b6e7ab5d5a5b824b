"""`todo-service openapi`."""

from __future__ import annotations

from pathlib import Path

import click

from todo_service.cli.preparation import fail


@click.command()
@click.option(
    "--format", "document_format", type=click.Choice(["json", "yaml"]), default="json", help="Output format (json)."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead of stdout.")
def openapi(document_format: str, output: Path | None) -> None:
    """Print the OpenAPI document, for generating clients and SDKs."""
    from todo_service.app import render_openapi_document  # imported late, see the package's docstring

    text = render_openapi_document(document_format)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"{output}: {error.strerror}")
