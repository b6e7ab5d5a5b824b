"""The generated clients for other languages: how each is generated, compiled and run, and what Debian provides for it.

`python -m tests.sdk.languages` prints the Debian packages that they need.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Final, NamedTuple

from tests.sdk.tools import FOLDER, MODULES, run

SCENARIOS: Final = FOLDER / "scenarios" / "six_calls"
# short runs do not need the optimizing compiler
QUICK_JAVA: Final = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
_JAVA_LIBRARIES: Final = "/usr/share/java/geronimo-annotation-1.3-spec.jar:/usr/share/java/httpmime.jar"
_TSC: Final = "tsc --strict --target es2022 --types node"
_COMMONJS: Final = f"{_TSC} --module node16 --moduleResolution node16 --outDir built"


class Client(NamedTuple):
    """A generated client.

    Attributes:
        generate: The shell command that generates it from `document.json` into `client`.
        scenario: The program that uses it, a file or folder of `scenarios/six_calls`; None if it is generated only.
        compile: The shell command that compiles the client and the program.
        use: The shell command that runs the program.
        packages: The Debian packages of the compiler and of the libraries.
    """

    generate: str
    scenario: str | None = None
    compile: str = "true"
    use: str = ""
    packages: tuple[str, ...] = ()


def _openapi_generator(generator: str, options: str = "") -> str:
    return f"openapi-generator-cli generate -g {generator} -i document.json -o client {options}"


CLIENTS: Final = {
    "go": Client(
        _openapi_generator(
            "go", "--additional-properties=withGoMod=false,disallowAdditionalPropertiesIfNotPresent=false"
        ),
        "six_calls.go",
        "mkdir src && mv client src/todo_client && GO111MODULE=off GOPATH=$PWD:/usr/share/gocode go build six_calls.go",
        "./six_calls",
        ("golang-go", "golang-golang-x-oauth2-dev"),
    ),
    "java": Client(
        _openapi_generator("java", "--library native --additional-properties=openApiNullable=false"),
        "SixCalls.java",
        # the generator itself contains Jackson with its support of java.time, which Debian lacks
        f"javac -proc:none -cp $OPENAPI_GENERATOR:{_JAVA_LIBRARIES} -d built"
        " $(find client/src/main -name '*.java') SixCalls.java",
        f"java -cp built:$OPENAPI_GENERATOR:{_JAVA_LIBRARIES} SixCalls",
        ("default-jdk-headless", "libgeronimo-annotation-1.3-spec-java", "libhttpmime-java"),
    ),
    "ruby": Client(
        _openapi_generator("ruby"),
        "six_calls.rb",
        use="ruby -I client/lib six_calls.rb",
        packages=("ruby", "ruby-typhoeus"),
    ),
    "php": Client(
        _openapi_generator("php"),
        "six_calls.php",
        use="php -d error_reporting=-1 -d display_errors=stderr six_calls.php",
        packages=("php-cli", "php-curl", "php-mbstring", "php-guzzlehttp-guzzle"),
    ),
    "rust": Client(
        _openapi_generator("rust"),
        "rust",
        # with the versions that Debian has: reqwest 0.11 instead of 0.13, and no serde_with
        "sed -i -e 's|^serde_with = .*|serde_with = { path = \"../serde_with\" }|' -e 's|\\^0.13|^0.11|'"
        " -e 's|, \"query\", \"form\"||' -e 's|\\^2.5|2|' -e 's|\\^1.46.0|1|' client/Cargo.toml"
        " && PATH=/usr/bin:$PATH cargo build --offline --quiet",
        "target/debug/six_calls",
        (
            "cargo-web",
            "librust-chrono-dev",
            "librust-reqwest-dev",
            "librust-serde-json-dev",
            "librust-serde-repr-dev",
            "librust-tokio-dev",
            "librust-tokio-util-dev",
            "librust-url-dev",
        ),
    ),
    "typescript-axios": Client(
        _openapi_generator("typescript-axios"),
        "typescript_axios.ts",
        f"{_COMMONJS} --noUncheckedIndexedAccess typescript_axios.ts",
        "node built/typescript_axios.js",
    ),
    "typescript-fetch": Client(
        _openapi_generator("typescript-fetch"),
        "typescript_fetch.ts",
        f"{_COMMONJS} typescript_fetch.ts",
        "node built/typescript_fetch.js",
    ),
    "orval": Client(
        "orval --input document.json --output client.ts --client axios-functions --fail-on-warnings",
        "orval.ts",
        f"{_COMMONJS} --noUncheckedIndexedAccess orval.ts",
        "node built/orval.js",
    ),
    "ng-openapi-gen": Client(
        "ng-openapi-gen --input document.json --output client",
        "ng_openapi_gen.ts",
        f"{_TSC} --noUncheckedIndexedAccess --module esnext --moduleResolution bundler --noEmit ng_openapi_gen.ts",
        "tsx ng_openapi_gen.ts",
    ),
    "python": Client(_openapi_generator("python")),  # test_clients.py uses it
    "csharp": Client(_openapi_generator("csharp")),
    "dart": Client(_openapi_generator("dart")),
    "kotlin": Client(_openapi_generator("kotlin")),
    "swift6": Client(_openapi_generator("swift6")),
}
"""The clients by the names of their generators."""

_WARNING: Final = re.compile(r".*(?:\b(?:WARN|WARNING|ERROR|Unsupported|Exception)\b|\b[Ww]arning:).*")
_NOISE: Final = (
    "OpenAPI 3.1 support is still in beta",
    "Failed to get the schema name: null",  # of `additionalProperties: false`
    "Ignoring complex example on request body",  # it is only missing in the documentation of the Java client
    "type cannot be used as a field/variable name. Renamed to r#type",  # a Rust keyword, and the name in RFC 9457
    # names of media types, which the Rust client does not use
    "ApplicationJson cannot be used as a model name",
    "ApplicationProblem+json cannot be used as a model name",
    "ApplicationMergePatch+json cannot be used as a model name",
    "TextCsv cannot be used as a model name",
    "TextCalendar cannot be used as a model name",
    "TextEventStream cannot be used as a model name",
)
"""The warnings that are not about a fault of the document."""


def generate(client: Client, document: Path, folder: Path) -> list[str]:
    """Generate a client, and return the warnings of the generator that are about the document."""
    (folder / "document.json").write_text(document.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "node_modules").symlink_to(MODULES)
    said = run_shell(client.generate, folder)
    return [line for line in _WARNING.findall(said) if not any(noise in line for noise in _NOISE)]


def compile_scenario(client: Client, folder: Path) -> None:
    """Compile a client and the program that uses it."""
    assert client.scenario is not None
    module = "module" if client.use.startswith("tsx") else "commonjs"
    (folder / "package.json").write_text(f'{{"type": "{module}"}}')
    scenario = SCENARIOS / client.scenario
    if scenario.is_dir():
        shutil.copytree(scenario, folder, dirs_exist_ok=True)
    else:
        shutil.copy(scenario, folder)
    run_shell(client.compile, folder)


def run_shell(command: str, folder: Path, **variables: str) -> str:
    """Run a shell command in a folder, and return its output. If it fails, the test fails."""
    spec = importlib.util.find_spec("openapi_generator_cli")
    assert spec is not None
    assert spec.origin is not None
    jar = str(Path(spec.origin).with_name("openapi-generator.jar"))
    variables = QUICK_JAVA | {"OPENAPI_GENERATOR": jar} | variables
    return run("bash", "-euo", "pipefail", "-c", command, cwd=folder, variables=variables)


if __name__ == "__main__":
    print(*sorted({package for client in CLIENTS.values() for package in client.packages}))  # noqa: T201
