"""Copies the files of Swagger UI from npm's `swagger-ui-dist` into the package, unchanged."""

from __future__ import annotations

import shutil
from pathlib import Path

import todo_service.web.docs
from tests.sdk.tools import MODULES

SOURCE = MODULES / "swagger-ui-dist"
TARGET = Path(todo_service.web.docs.__file__).with_name("swagger")
FILES = (
    "swagger-ui-bundle.js",
    "swagger-ui-bundle.js.LICENSE.txt",
    "swagger-ui.css",
    "favicon-32x32.png",
    "LICENSE",
    "NOTICE",
)

if __name__ == "__main__":
    for name in FILES:
        shutil.copyfile(SOURCE / name, TARGET / name)
