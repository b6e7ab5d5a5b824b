"""Settings: defaults, bounds and errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from todo_service.secret_key import load_or_create_secret_key
from todo_service.settings import Settings, SettingsError, load_settings, redact_address
from todo_service.store.addresses import parse_path
from todo_service.variables import VARIABLES, Variable

KEY = "k" * 32


def load(folder: Path, **variables: str) -> Settings:
    return load_settings({"DATA_DIR": str(folder)} | variables)


def test_defaults_follow_the_contract(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert (settings.environment, settings.log_format, settings.log_level) == ("development", "console", "info")
    assert (settings.access_token_seconds, settings.refresh_token_days) == (600, 30)
    assert settings.rate_limit_enabled
    assert (settings.rate_limit_api, settings.rate_limit_auth) == ("600/minute", "10/minute")
    assert (settings.trusted_proxies, settings.allowed_hosts, settings.cors_origins) == ((), (), ())
    assert settings.max_body_bytes == 2**20
    assert settings.metrics_token is None
    assert settings.store_address == f"lmdb://{tmp_path}/store"
    assert load(tmp_path, ENVIRONMENT="production").log_format == "json"


NUMBERS = ["-1", "+5", "1.5", "1e3", "0x10", "five", "9" * 13, "\u0665"]
"""Values that are valid for no setting."""
RATES = ["0/minute", "-1/minute", "10 per 0 minutes", "10", "many", "5 per", "10/fortnight"]
RATES += ["99999999/second", "10/minute, 5/second", "1/9999years", "1/2 years", "1/367 days"]
EVERY_ADDRESS = ["0.0.0.0/0", "10.0.0.1, ::/0", "0.0.0.0/1, 128.0.0.0/1", "::/1,8000::/1", "64.0.0.0/2", "10.0.0.0/7"]
WRONG_ORIGINS = ["https://a:65536", "https://a:0", "https://a..b", "https://[:::]", "https://user@a.example"]
CASES: dict[str, tuple[list[str], list[str]]] = {
    "STORE_URL": (
        ["lmdb:///x", "mongodb://h/d", "mongodb+srv://h/d"],
        ["lmdb://x", "lmdb:///x?y", "lmdb:///x#y", "postgres://h/d", "x", "file:///x"],
    ),
    "DATA_DIR": (["."], ["~nobody-of-this-name/data"]),
    # `serve` checks that it is an address of the machine
    "HOST": (["127.0.0.1", "::1", "[::1]", "localhost", "fe80::1%eth0"], ["http://localhost", "a b", "::g", "a:80"]),
    "PORT": (["1", "65535"], ["0", "65536", "8000.0", *NUMBERS]),
    "WORKERS": (["1", "64"], ["0", "65", *NUMBERS]),
    "SHUTDOWN_DELAY": (["0", "300"], ["301", *NUMBERS]),
    "ENVIRONMENT": (["production", "Development"], ["staging"]),
    "SECRET_KEY": ([KEY], ["k" * 31]),
    "PREVIOUS_SECRET_KEYS": (["a" * 32, f"{'a' * 32}, {'b' * 32}"], ["short", f"{'a' * 32},short"]),
    "ACCESS_TOKEN_SECONDS": (["30", "86400"], ["29", "86401", *NUMBERS]),
    "REFRESH_TOKEN_DAYS": (["1", "365"], ["0", "366", *NUMBERS]),
    "REGISTRATION": (["open", "Invite", "closed"], ["invited", "true"]),
    "RATE_LIMIT_ENABLED": (["true", "0", "No"], ["perhaps"]),
    "RATE_LIMIT_API": (["5/second", "100/hour", "1/year", "1/12 months", "1/366 days"], RATES),
    "RATE_LIMIT_AUTH": (["5/second"], RATES),
    "TRUSTED_PROXIES": (
        ["127.0.0.1", "10.0.0.0/8, ::1"],
        ["localhost", "10.0.0.0/99", *EVERY_ADDRESS, "10.0.0", "http://10.0.0.1", "10.0.0.1:80"],
    ),
    "ALLOWED_HOSTS": (
        ["todo.example.com, *.example.com", "localhost", "[::1]", "192.0.2.1", "*"],
        [
            "http://example.com",
            "example.com/",
            "example.com:8000",
            "a b",
            "a..b",
            "*example.com",
            "*.*",
            "-",
            "[::g]",
            "[::1",
            "[::1)",
            "*.[::1]",
            "*, a.example",
        ],
    ),
    "ROOT_PATH": (
        ["/", "/todo", "/a/b/"],
        ["todo", "//todo", "/a/../b", "/a?b", "/a b", "/v1", "https://a/b"],
    ),
    "CORS_ORIGINS": (
        ["https://a.example", "http://localhost:3000, https://b.example", "tauri://localhost", "http://[::1]:3000"],
        ["*", "https://*.a.example", "a", "null", "://a", "https://", "https://a/", "https://a/b", *WRONG_ORIGINS],
    ),
    "WEBHOOK_NETWORKS": (
        ["10.0.0.0/8", "127.0.0.1, fc00::/7"],
        ["localhost", "10.0.0.0/99", *EVERY_ADDRESS, "*"],
    ),
    "MAX_BODY_BYTES": (["1024", "67108864"], ["0", "1023", "67108865", "1 MiB", *NUMBERS]),
    "MAX_TODOS": (["1", "10000000"], ["0", "10000001", *NUMBERS]),
    "MAX_TAGS": (["1", "10000"], ["0", "10001", *NUMBERS]),
    "MAX_LISTS": (["1", "10000"], ["0", "10001", *NUMBERS]),
    "METRICS_TOKEN": (["t" * 16], ["t" * 15, "tökén" * 4, "t t " * 5]),
    "LOG_LEVEL": (["debug", "ERROR"], ["loud"]),
    "LOG_FORMAT": (["json", "console"], ["xml"]),
}
"""Valid and invalid values of each variable."""


def test_every_variable_has_a_case() -> None:
    assert list(CASES) == [variable.name for variable in VARIABLES]


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_each_setting_is_validated(tmp_path: Path, variable: Variable) -> None:
    good, bad = CASES[variable.name]
    for value in good:
        load(tmp_path, **{"SECRET_KEY": KEY, variable.name: value})
    for value in bad:
        with pytest.raises(SettingsError) as raised:
            load(tmp_path, **{"SECRET_KEY": KEY, variable.name: value})
        assert len(str(raised.value).splitlines()) == 1
        assert str(raised.value).startswith(f"{variable.name}: ")
        assert variable.allowed in str(raised.value)
        assert (repr(value) in str(raised.value)) is not variable.secret


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"PREVIOUS_SECRET_KEYS": KEY}, "PREVIOUS_SECRET_KEYS"),
        ({"PREVIOUS_SECRET_KEYS": f"{'a' * 32},{KEY}"}, "PREVIOUS_SECRET_KEYS"),
        ({"PREVIOUS_SECRET_KEYS": f"{'a' * 32},{'a' * 32}"}, "PREVIOUS_SECRET_KEYS"),
        ({"METRICS_TOKEN": KEY}, "METRICS_TOKEN"),
        ({"METRICS_TOKEN": "a" * 32, "PREVIOUS_SECRET_KEYS": "a" * 32}, "METRICS_TOKEN"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_rejected(variables: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"SECRET_KEY": KEY} | variables)

    assert len(str(raised.value).splitlines()) == 1
    assert str(raised.value).startswith(f"{name}: ")
    assert KEY not in str(raised.value)


def test_a_store_may_be_outside_the_data_folder() -> None:
    for url in ("lmdb:///data/store", "lmdb:///elsewhere/store", "mongodb://h/d"):
        settings = load_settings({"SECRET_KEY": KEY, "STORE_URL": url, "DATA_DIR": "/data"})
        assert settings.store_address == url


def test_every_invalid_setting_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, PORT="x", WORKERS="y", SECRET_KEY="short")

    assert [line.split(":")[0] for line in str(raised.value).splitlines()] == ["PORT", "WORKERS", "SECRET_KEY"]


def test_an_empty_value_counts_as_unset(tmp_path: Path) -> None:
    assert load(tmp_path, PORT="", METRICS_TOKEN=" ", STORE_URL="").port == 8000


def test_options_take_precedence_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=1111\nHOST=1.1.1.1\nWORKERS=3\n")

    settings = load_settings(
        {"DATA_DIR": str(tmp_path), "PORT": "2222", "HOST": "2.2.2.2"}, dotenv, port="3333", host=None
    )

    assert (settings.port, settings.host, settings.workers) == (3333, "2.2.2.2", 3)


@pytest.mark.parametrize("environment", ["development", "production"])
def test_the_embedded_store_generates_and_stores_a_secret_key_once(tmp_path: Path, environment: str) -> None:
    folder = tmp_path / "new" / "data"

    first = load(folder, ENVIRONMENT=environment)
    second = load(folder, ENVIRONMENT=environment)

    assert first.secret_key == second.secret_key
    assert len(first.secret_key) >= 32
    assert [path.name for path in folder.iterdir()] == ["secret_key"]
    assert (folder / "secret_key").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_concurrently_use_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        keys = set(threads.map(lambda _: load_or_create_secret_key(tmp_path / "data"), range(64)))

    assert len(keys) == 1


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("short")

    with pytest.raises(SettingsError) as raised:
        load(tmp_path)

    assert len(str(raised.value).splitlines()) == 1
    assert (tmp_path / "secret_key").read_text() == "short"


def test_mongodb_requires_a_secret_key_only_in_production(tmp_path: Path) -> None:
    url = "mongodb://127.0.0.1/todo"

    first, second = load(tmp_path, STORE_URL=url), load(tmp_path, STORE_URL=url)
    with pytest.raises(SettingsError, match="SECRET_KEY: required in production"):
        load(tmp_path, STORE_URL=url, ENVIRONMENT="production")

    assert first.secret_key_generated
    assert first.secret_key != second.secret_key
    assert not load(tmp_path, STORE_URL=url, ENVIRONMENT="production", SECRET_KEY=KEY).secret_key_generated


def test_secrets_are_redacted(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        STORE_URL="mongodb://ada:mongosecret@127.0.0.1/todo",
        SECRET_KEY="keysecret" * 4,
        PREVIOUS_SECRET_KEYS="oldsecret" * 4,
        METRICS_TOKEN="metricssecret-12",
    )

    for text in (repr(settings), str(settings), f"{settings}", settings.redacted_store_address):
        for secret in ("mongosecret", "keysecret", "oldsecret", "metricssecret"):
            assert secret not in text
    assert settings.redacted_store_address == "mongodb://127.0.0.1/todo"


@pytest.mark.parametrize("rate", ["1/second", "600/minute", "10 per 2 hours", "5 per hour", "600/MINUTE"])
def test_a_rate_may_have_several_notations(tmp_path: Path, rate: str) -> None:
    assert load(tmp_path, RATE_LIMIT_API=rate).rate_limit_api == rate


@pytest.mark.parametrize(
    ("api", "auth", "warned"),
    [
        ("600/minute", "10/minute", False),
        ("600/minute", "600/minute", False),
        ("600/minute", "601/minute", True),
        ("5/minute", "10/minute", True),
        ("5/minute", "10/hour", False),
        ("5/hour", "10/minute", True),
        ("10/second", "500/minute", False),
    ],
)
def test_a_limit_of_logins_that_is_never_reached_is_named(tmp_path: Path, api: str, auth: str, warned: bool) -> None:
    settings = load(tmp_path, RATE_LIMIT_API=api, RATE_LIMIT_AUTH=auth)
    unlimited = load(tmp_path, RATE_LIMIT_API=api, RATE_LIMIT_AUTH=auth, RATE_LIMIT_ENABLED="false")

    found = settings.list_warnings()

    assert [line.split(":")[0] for line in found] == ["RATE_LIMIT_AUTH"] * warned
    assert unlimited.list_warnings() == []


@pytest.mark.parametrize("variable", ["TRUSTED_PROXIES", "WEBHOOK_NETWORKS"])
def test_an_ipv4_network_that_is_written_as_ipv6_counts_as_ipv4(tmp_path: Path, variable: str) -> None:
    settings = load(tmp_path, **{variable: "::ffff:10.0.0.1, ::ffff:10.1.0.0/112"})

    assert getattr(settings, variable.lower()) == ("10.0.0.1/32", "10.1.0.0/16")
    with pytest.raises(SettingsError):
        load(tmp_path, **{variable: "::ffff:0:0/96"})


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("HTTPS://App.Example:443", "https://app.example"),
        ("http://App.Example:443", "http://app.example:443"),
        ("Capacitor://LocalHost", "capacitor://localhost"),
        ("chrome-extension://ABC", "chrome-extension://abc"),
        ("tauri://LOCALHOST:443", "tauri://localhost:443"),
        ("http://[::FFFF]:80", "http://[::ffff]"),
    ],
)
def test_an_origin_is_normalized(tmp_path: Path, given: str, origin: str) -> None:
    assert load(tmp_path, CORS_ORIGINS=given).cors_origins == (origin,)


def test_an_ipv6_host_may_have_brackets(tmp_path: Path) -> None:
    assert load(tmp_path, HOST="[::1]").host == load(tmp_path, HOST="::1").host == "::1"


def test_each_variable_has_an_attribute() -> None:
    assert {variable.attribute for variable in VARIABLES} | {"secret_key_generated"} == set(Settings.__struct_fields__)


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a b", "ä", "a@b"])
def test_a_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    settings = load(tmp_path / name)
    again = load_settings({"STORE_URL": settings.store_address})

    assert parse_path(settings.store_address) == tmp_path / name / "store"
    assert again.secret_key == settings.secret_key
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mongodb://ada:secret@h/d?authSource=admin", "mongodb://h/d"),
        ("mongodb://ada:s/e?c@ret@h/d", "mongodb://h/d"),
        ("mongodb+srv://h/d?tlsCertificateKeyFilePassword=secret", "mongodb+srv://h/d"),
        ("mongodb://h:1,h:2", "mongodb://h:1,h:2"),
        ("lmdb:///a@b/c", "lmdb:///a@b/c"),
    ],
)
def test_an_address_is_redacted(address: str, shown: str) -> None:
    assert redact_address(address) == shown
