"""Files in `infra/`, read by the tools that use them where these are installed."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow

from flows.round import FOLDERS
from flows.server.api import POOL
from flows.server.deploy import FILE, FLOWS, OTHER_FLOWS
from flows.server.settle import HEARTBEAT

INFRA = FILE.parent
VARIABLE = re.compile(r"{{\s*(\w+)\s*}}")


def require_tool(*command: str) -> None:
    """Skip where the tool or its subcommand is missing."""
    is_installed = shutil.which(command[0]) and subprocess.run(command, capture_output=True).returncode == 0
    if not is_installed:
        pytest.skip(f"no {' '.join(command)}")


def deployments() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(FILE.read_text())["deployments"]
    return found


@pytest.mark.parametrize("deployment", deployments(), ids=lambda deployment: deployment["name"])
def test_a_deployment_names_an_existing_flow_and_its_parameters(deployment: dict[str, Any]) -> None:
    path, name = deployment["entrypoint"].split(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert flow.name in FLOWS
    assert set(deployment.get("parameters", {})) <= set(flow.parameters.properties)
    flow.validate_parameters(deployment.get("parameters", {})) if deployment["name"] == "iterate" else None
    assert deployment["enforce_parameter_schema"]
    assert deployment["concurrency_limit"]["limit"] == 1
    assert deployment["work_pool"]["name"] == POOL
    assert int(deployment["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) == HEARTBEAT


def test_no_two_flows_have_one_name_and_the_automation_has_all() -> None:
    modules = [importlib.import_module(f"flows.{name}") for name in ("selfplay", "corpus", "benchmark")]
    modules.append(importlib.import_module("flows.server.deployments"))
    flows = {id(item): item for module in modules for item in vars(module).values() if isinstance(item, Flow)}
    assert sorted(flow.name for flow in flows.values()) == sorted([*FLOWS, *OTHER_FLOWS])


def test_the_form_of_iterate_is_shallow_and_offers_every_stage() -> None:
    from flows.selfplay import play_rounds

    fields = play_rounds.parameters.properties
    assert not play_rounds.parameters.definitions
    assert all(field["description"] for field in fields.values())
    assert fields["force_from_stage"]["anyOf"][0]["enum"] == list(FOLDERS)


def test_schedules_are_paused_until_somebody_starts_them() -> None:
    schedules = [schedule for deployment in deployments() for schedule in deployment.get("schedules", [])]
    assert schedules
    assert not any(schedule["active"] for schedule in schedules)


def test_compose_publishes_only_the_ui_and_only_on_loopback() -> None:
    services = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(published) == ["server"]
    assert all(port.startswith("127.0.0.1:") for port in published["server"])


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]], ids=len)
def test_docker_accepts_the_compose_files(files: list[str]) -> None:
    require_tool("docker", "compose", "version")
    secrets = dict.fromkeys(("POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x")
    command = ["docker", "compose", *(part for name in files for part in ("-f", str(INFRA / name))), "config", "-q"]
    subprocess.run(command, env={**os.environ, **secrets}, check=True)


def test_the_images_have_stages_for_cpu_and_gpu_with_their_locks() -> None:
    text = (INFRA / "Dockerfile").read_text()
    for target in ("cpu", "gpu"):
        assert f"AS {target}\n" in text
        assert f"infra/locks/{target}.txt" in text
        assert (INFRA / "locks" / f"{target}.txt").is_file()


def job_template() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((INFRA / "kubernetes" / "base-job-template.json").read_text())
    return found


def test_a_job_template_uses_the_variables_that_it_declares() -> None:
    template = job_template()
    used = set(VARIABLE.findall(json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])


def test_a_job_with_default_values_requests_a_gpu(tmp_path: Path) -> None:
    require_tool("kubectl", "version", "--client")
    template = job_template()
    values = {name: field.get("default", "x") for name, field in template["variables"]["properties"].items()}
    manifest = filled(template["job_configuration"]["job_manifest"], values)
    manifest["metadata"]["name"] = "one"
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container.update(args=["prefect", "flow-run", "execute"], env=[{"name": "A", "value": "b"}])
    shown = kustomized(tmp_path, yaml.safe_dump(manifest))
    assert shown["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_kubectl_accepts_the_worker(tmp_path: Path) -> None:
    require_tool("kubectl", "version", "--client")
    text = (INFRA / "kubernetes" / "worker.yaml").read_text()
    kinds = [document["kind"] for document in yaml.safe_load_all(text)]
    assert kinds == ["Namespace", "ServiceAccount", "Role", "RoleBinding", "Deployment"]
    kustomized(tmp_path, text)


def kustomized(folder: Path, text: str) -> Any:
    """The first document, read and written by kubectl, which rejects anything but Kubernetes objects."""
    (folder / "resource.yaml").write_text(text)
    (folder / "kustomization.yaml").write_text("resources: [resource.yaml]\n")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True)
    return next(yaml.safe_load_all(done.stdout))


def filled(value: Any, values: dict[str, Any]) -> Any:
    """A job template with its variables replaced by values, as a worker does it."""
    match value:
        case dict():
            return {name: filled(item, values) for name, item in value.items()}
        case list():
            return [filled(item, values) for item in value]
        case str() if match := VARIABLE.fullmatch(value):
            return values[match[1]]
    return value
