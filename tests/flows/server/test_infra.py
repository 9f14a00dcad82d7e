"""Files in `infra/`, read by the tools that use them where these are installed."""

from __future__ import annotations

import gzip
import importlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from prefect import Flow
from prefect.utilities.templating import apply_values
from prefect.workers.base import BaseJobConfiguration

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
    files = [yaml.safe_load(path.read_text())["services"] for path in INFRA.glob("compose*.yaml")]
    published = {name: service["ports"] for file in files for name, service in file.items() if "ports" in service}
    assert list(published) == ["server"]
    assert all(port.startswith("127.0.0.1:") for port in published["server"])


COMPOSE = (["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"], ["compose.yaml", "compose.ray.yaml"])


@pytest.mark.parametrize("files", COMPOSE, ids=lambda files: files[-1])
def test_docker_accepts_the_compose_files(files: list[str]) -> None:
    require_tool("docker", "compose", "version")
    names = ("POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN")
    secrets = dict.fromkeys(names, "x")
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


def job(**values: object) -> dict[str, Any]:
    """The job of a flow run as Prefect's worker fills it in, with the pool's default values."""
    template = job_template()
    defaults = BaseJobConfiguration._get_base_config_defaults(template["variables"]["properties"])
    given = {"command": ["prefect", "flow-run", "execute"], "env": [], "labels": {}, **values}
    found: dict[str, Any] = apply_values(template["job_configuration"]["job_manifest"], {**defaults, **given})
    return {**found, "metadata": {**found["metadata"], "name": "one"}}


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_kubectl_accepts_a_job(tmp_path: Path) -> None:
    require_tool("kubectl", "version", "--client")
    shown = kustomized(tmp_path, yaml.safe_dump(job(ray_address="head:6379")))
    assert container_of(shown)["args"] == ["prefect", "flow-run", "execute"]


def test_a_job_requests_a_gpu_and_none_as_a_driver_of_a_ray_cluster() -> None:
    alone, driver = job(), job(ray_address="head:6379", gpus=0, models={"claimName": "models"})
    assert container_of(alone)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container_of(alone)["command"][-1] == ""
    assert container_of(driver)["resources"]["limits"]["nvidia.com/gpu"] == 0
    assert container_of(driver)["command"][-2:] == ["/app/infra/ray-driver.sh", "head:6379"]
    assert driver["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"] == {"claimName": "models"}


def documents(name: str) -> dict[str, Any]:
    """The documents of a file in `infra/kubernetes`, by their kind."""
    found = yaml.safe_load_all((INFRA / "kubernetes" / name).read_text())
    return {document["kind"]: document for document in found}


@pytest.mark.parametrize(
    ("file", "kinds"),
    [
        ("worker.yaml", ["Namespace", "ServiceAccount", "Role", "RoleBinding", "Deployment"]),
        ("ray-cluster.yaml", ["PersistentVolumeClaim", "NetworkPolicy", "RayCluster"]),
    ],
)
def test_kubectl_accepts_the_manifests(tmp_path: Path, file: str, kinds: list[str]) -> None:
    require_tool("kubectl", "version", "--client")
    assert list(documents(file)) == kinds
    kustomized(tmp_path, (INFRA / "kubernetes" / file).read_text())


RAYCLUSTER_SCHEMA = Path(__file__).parents[2] / "fixtures" / "raycluster_v1.json.gz"
"""The schema of RayCluster, ray.io/v1, in the file ray-operator/config/crd/bases/ray.io_rayclusters.yaml of KubeRay
v1.7.0 (github.com/ray-project/kuberay, Apache License 2.0), without descriptions and `status`. It holds Kubernetes' own
schema of a pod."""


def raycluster_schema() -> dict[str, Any]:
    """The operator's schema. A field that it does not know is an error, as for `kubectl apply --validate=strict`."""
    schema: dict[str, Any] = strict(json.loads(gzip.decompress(RAYCLUSTER_SCHEMA.read_bytes())))
    return schema


def strict(schema: Any) -> Any:
    match schema:
        case {"properties": dict(), "type": "object"} if "additionalProperties" not in schema:
            schema = {**schema, "additionalProperties": False}
        case {"type": "object"} if set(schema) == {"type"}:  # metadata
            return schema
    if isinstance(schema, dict):
        return {name: strict(item) for name, item in schema.items()}
    return [strict(item) for item in schema] if isinstance(schema, list) else schema


def problems(value: object, schema: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in Draft202012Validator(schema).iter_errors(value)]


def test_the_operator_accepts_the_ray_cluster() -> None:
    cluster, schema = documents("ray-cluster.yaml")["RayCluster"], raycluster_schema()
    assert problems(cluster, schema) == []
    cluster["spec"]["workerGroupSpecs"][0]["maxReplica"] = "8"
    (problem,) = problems(cluster, schema)
    assert "maxReplica" in problem


def test_kubernetes_accepts_the_pods_of_jobs_and_of_the_worker() -> None:
    group = raycluster_schema()["properties"]["spec"]["properties"]["workerGroupSpecs"]["items"]
    pod = group["properties"]["template"]["properties"]["spec"]
    worker = documents("worker.yaml")["Deployment"]["spec"]["template"]["spec"]
    jobs = [job(), job(ray_address="head:6379", gpus=0, models={"claimName": "models"})]
    for spec in [worker, *(job["spec"]["template"]["spec"] for job in jobs)]:
        assert problems(spec, pod) == []


def test_ray_nodes_have_the_workers_image_and_the_locked_version() -> None:
    spec = documents("ray-cluster.yaml")["RayCluster"]["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    images = {container["image"] for group in groups for container in group["template"]["spec"]["containers"]}
    assert images == {job_template()["variables"]["properties"]["image"]["default"]}
    assert spec["rayVersion"] == importlib.metadata.version("ray")
    for name in ("cpu", "gpu"):
        assert f"ray=={spec['rayVersion']} " in (INFRA / "locks" / f"{name}.txt").read_text()


def test_only_workers_of_the_ray_cluster_take_work_and_they_scale() -> None:
    spec = documents("ray-cluster.yaml")["RayCluster"]["spec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    gpu, cpu = spec["workerGroupSpecs"]
    assert spec["enableInTreeAutoscaling"] and gpu["minReplicas"] < gpu["maxReplicas"]
    limits = [group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in (gpu, cpu)]
    assert [limit.get("nvidia.com/gpu", 0) for limit in limits] == [1, 0]


def kustomized(folder: Path, text: str) -> Any:
    """The first document, read and written by kubectl, which rejects anything but Kubernetes objects."""
    (folder / "resource.yaml").write_text(text)
    (folder / "kustomization.yaml").write_text("resources: [resource.yaml]\n")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True)
    return next(yaml.safe_load_all(done.stdout))
