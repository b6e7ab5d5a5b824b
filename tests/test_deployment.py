"""The deployment files are valid, and consistent with the service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from todo_service import __version__
from todo_service.settings import load_settings
from todo_service.variables import VARIABLES

CONTAINERS = Path(__file__).parent.parent / "containers"
NAMES = {variable.name for variable in VARIABLES}

# The part of Render's specification of web services (render.com/docs/blueprint-spec) that this project uses
RENDER: dict[str, Any] = {
    "type": "object",
    "required": ["services"],
    "additionalProperties": False,
    "properties": {
        "services": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "name", "runtime"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "web"},
                    "name": {"type": "string"},
                    "runtime": {"const": "docker"},
                    "plan": {"enum": ["free", "starter", "standard", "pro", "pro plus", "pro max", "pro ultra"]},
                    "dockerfilePath": {"type": "string"},
                    "dockerContext": {"type": "string"},
                    "healthCheckPath": {"type": "string"},
                    "numInstances": {"type": "integer", "minimum": 1},
                    "maxShutdownDelaySeconds": {"type": "integer", "minimum": 1, "maximum": 300},
                    "envVars": {"type": "array", "items": {"$ref": "#/$defs/variable"}},
                    "disk": {
                        "type": "object",
                        "required": ["name", "mountPath"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "mountPath": {"type": "string"},
                            "sizeGB": {"type": "integer", "minimum": 1},
                        },
                    },
                },
            },
        },
    },
    "$defs": {
        "variable": {
            "type": "object",
            "required": ["key"],
            "additionalProperties": False,
            "properties": {
                "key": {"type": "string"},
                "value": {"type": ["string", "number"]},
                "generateValue": {"type": "boolean"},
                "sync": {"type": "boolean"},
            },
        },
    },
}


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONTAINERS / name).read_text())
    return content


def create_atlas_variant(text: str) -> str:
    """Return the Blueprint with the lines for MongoDB Atlas from its comment, and without its disk."""
    service, comment = text.split("    disk:\n")
    lines = re.findall(r"^    #   ( *[-\w]+.*)$", comment, re.MULTILINE)
    instances = [line for line in lines if line.startswith("numInstances")]
    variables = [line for line in lines if line not in instances]
    return service + "".join(f"      {line}\n" for line in variables) + "".join(f"    {line}\n" for line in instances)


def test_the_blueprint_follows_render_s_specification() -> None:
    text = (CONTAINERS / "render.yaml").read_text()
    plain, atlas = yaml.safe_load(text), yaml.safe_load(create_atlas_variant(text))
    variables = [{variable["key"] for variable in made["services"][0]["envVars"]} for made in (plain, atlas)]

    for made in (plain, atlas):
        Draft202012Validator(RENDER).validate(made)
        (service,) = made["services"]
        assert (CONTAINERS.parent / service["dockerfilePath"]).is_file()
        assert (CONTAINERS.parent / service["dockerContext"]).resolve() == CONTAINERS.parent.resolve()
        assert service["healthCheckPath"] == "/health/ready"
        assert {"key": "SECRET_KEY", "generateValue": True} in service["envVars"]
    assert plain["services"][0]["disk"]["mountPath"] == "/data"
    assert "disk" not in atlas["services"][0]
    assert atlas["services"][0]["numInstances"] == 2
    assert variables[1] - variables[0] == {"STORE_URL"}
    assert variables[1] <= NAMES


def test_the_blueprint_s_settings_are_valid(tmp_path: Path) -> None:
    given = {
        variable["key"]: variable.get("value", "x" * 44) for variable in read("render.yaml")["services"][0]["envVars"]
    }
    settings = load_settings(given | {"DATA_DIR": str(tmp_path)})

    assert "10.0.0.0/8" in settings.trusted_proxies


def test_compose_uses_only_existing_settings_and_contains_no_secrets() -> None:
    services = read("compose.yaml")["services"]
    given = [service["environment"] for service in services.values() if "environment" in service]

    assert given
    for environment in given:
        assert environment.keys() <= NAMES
        assert all(str(environment[name]).startswith("${") for name in environment if name != "STORE_URL")


def test_compose_passes_every_setting_on() -> None:
    """The addresses and folders within the container are those of the image."""
    services = read("compose.yaml")["services"]
    fixed = {"STORE_URL", "DATA_DIR", "HOST", "PORT", "ENVIRONMENT"}

    for service in services.values():
        if "environment" in service:
            assert service["environment"].keys() | fixed == NAMES | fixed


def test_every_service_of_compose_is_hardened_and_waits_for_health() -> None:
    services = read("compose.yaml")["services"]

    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert {service["condition"] for service in services["todo"]["depends_on"].values()} == {
        "service_healthy",
        "service_completed_successfully",
    }
    assert services["embedded"]["profiles"] == ["embedded"]


@pytest.mark.parametrize("name", ["Containerfile", "distroless.Containerfile"])
def test_both_images_have_the_version_label_and_the_same_declarations(name: str) -> None:
    lines = (CONTAINERS / name).read_text()

    assert f'org.opencontainers.image.version="{__version__}"' in lines
    for declared in ("VOLUME /data", "USER 1000:1000", "EXPOSE 8000", 'ENTRYPOINT ["todo-service"]', 'CMD ["serve"]'):
        assert f"\n{declared}\n" in lines


def test_the_readme_s_manifest_is_hardened_and_probes_existing_paths() -> None:
    readme = (CONTAINERS / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    pod = yaml.safe_load(block)["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
    assert {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")} == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
