"""configs/rayjob.yaml and configs/autoscaler.yaml: Ray's schema and options, commands that the real CLIs take."""

import copy
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jsonschema
import pytest
import ray
import typer
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.dashboard.modules.job.cli import submit
from ray.runtime_env import RuntimeEnv
from ray.scripts.scripts import start

from pipeline.cli.main import app
from pipeline.cluster.nodes import _answer_s
from pipeline.settings import Settings, load_settings, parse_assignments

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
RAYJOB = yaml.safe_load((CONFIGS / "rayjob.yaml").read_text())
LAUNCHER = yaml.safe_load((CONFIGS / "autoscaler.yaml").read_text())
CLUSTER = RAYJOB["spec"]["rayClusterSpec"]
GROUPS = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}
PODS = [CLUSTER["headGroupSpec"], *GROUPS.values()]
IMAGE = re.compile(r"rayproject/ray:(\d+\.\d+\.\d+)-py(\d)(\d+)(-gpu)?")
QUANTITY = re.compile(r"\d+(\.\d+)?(m|[KMGT]i?)?")


def commands(file: str) -> Iterator[list[str]]:
    """Every `tokenize` command in the comments at the top of a config, split into words."""
    text = re.match(r"(#.*\n)+", (CONFIGS / file).read_text())
    assert text is not None
    for line in re.sub(r"\\\n# *", "", text[0]).splitlines():
        words = shlex.split(line.removeprefix("#"), comments=True) if "tokenize" in line else []
        if words:
            yield words


COMMANDS = [
    shlex.split(RAYJOB["spec"]["entrypoint"]),
    *(words for file in ("cluster.yaml", "autoscaler.yaml") for words in commands(file)),
]


def settings_of(words: list[str]) -> Settings:
    """The settings of a `voxmill tokenize` or `python -m pipeline tokenize` command."""
    start = 1 if words[0] == "voxmill" else 3
    assert words[:start] in (["voxmill"], ["python", "-m", "pipeline"])
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(group.make_context("voxmill", [*words[start:]]), [*words[start:]])
    assert name == "tokenize"
    given = command.make_context(name, rest).params
    assert given["inputs"]
    assert given["out"]
    assert given["config"] == Path("configs/cluster.yaml")
    return load_settings(ROOT / given["config"], parse_assignments(given["assignments"] or []))


def ray_wanted() -> Requirement:
    """The version of Ray that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return next(wanted for line in project["dependencies"] if (wanted := Requirement(line)).name == "ray")


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_commands_are_taken_by_the_real_clis(words: list[str]) -> None:
    if words[:3] == ["ray", "job", "submit"]:
        given = submit.make_context("submit", words[3:]).params
        assert given["working_dir"] == "."
        words = list(given["entrypoint"])
    settings = settings_of(words)
    assert settings.device == "cuda"
    assert settings.encode.cpus == settings.decode.cpus == 0  # or nodes without CPUs would get no actor
    assert settings.ray_address == "auto"


def test_there_is_a_command_of_each_kind() -> None:
    assert sorted(words[0] for words in COMMANDS) == ["ray", "ray", "voxmill", "voxmill"]


def test_the_launcher_file_is_what_ray_takes() -> None:
    prepared = prepare_config(copy.deepcopy(LAUNCHER))  # as `ray up` does
    validate_config(prepared)
    assert prepared["head_node_type"] == "head"
    assert all((ROOT / local).exists() for local in LAUNCHER["file_mounts"].values())
    wrong = copy.deepcopy(LAUNCHER)
    wrong["available_node_types"]["readers"]["min_worker"] = 1
    with pytest.raises(jsonschema.ValidationError, match="min_worker"):
        validate_config(prepare_config(wrong))


def test_the_launchers_nodes_are_apart() -> None:
    types = LAUNCHER["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["encoders"]["resources"] == {"CPU": 0, "GPU": 1}
    assert types["encoders"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert types["readers"]["resources"] == {}
    assert re.match(r"[cmr]\d", types["readers"]["node_config"]["InstanceType"])  # AWS: no GPUs in these
    assert all(types[name]["node_config"]["IamInstanceProfile"] for name in ("readers", "encoders"))
    assert sum(kind.get("max_workers", 0) for kind in types.values()) == LAUNCHER["max_workers"]


@pytest.mark.parametrize(
    "image", [LAUNCHER["docker"]["image"], *(pod["template"]["spec"]["containers"][0]["image"] for pod in PODS)]
)
def test_images_hold_the_ray_and_a_python_that_voxmill_wants(image: str) -> None:
    found = IMAGE.fullmatch(image)
    assert found is not None
    assert found[1] == CLUSTER["rayVersion"]
    assert found[1] in ray_wanted().specifier
    assert ray.__version__ in ray_wanted().specifier
    assert (int(found[2]), int(found[3])) >= (3, 11)


def test_the_rayjob_ends_with_its_run() -> None:
    assert (RAYJOB["apiVersion"], RAYJOB["kind"]) == ("ray.io/v1", "RayJob")
    assert RAYJOB["spec"]["shutdownAfterJobFinishes"] is True
    assert RAYJOB["spec"]["ttlSecondsAfterFinished"] > 0


def test_the_rayjobs_readers_and_encoders_are_apart() -> None:
    assert set(GROUPS) == {"readers", "encoders"}
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert GROUPS["encoders"]["rayStartParams"]["num-cpus"] == "0"
    assert "num-cpus" not in GROUPS["readers"]["rayStartParams"]
    limits = {name: container(group)["resources"]["limits"] for name, group in GROUPS.items()}
    assert limits["encoders"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in limits["readers"]
    options = {option for parameter in start.params for option in parameter.opts}
    for pod in PODS:
        for name, value in pod["rayStartParams"].items():
            assert f"--{name}" in options
            assert isinstance(value, str)  # KubeRay refuses numbers
    for group in GROUPS.values():
        assert 0 < group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod.get("groupName", "head"))
def test_pods_have_resources_and_credentials_of_a_secret(pod: dict[str, Any]) -> None:
    resources = container(pod)["resources"]
    assert resources["requests"] == resources["limits"]  # Ray's CPUs and memory are the limits
    assert all(isinstance(value, str) and QUANTITY.fullmatch(value) for value in resources["limits"].values())
    assert container(pod)["envFrom"] == [{"secretRef": {"name": "voxmill", "optional": True}}]
    assert "env" not in container(pod)
    assert pod["template"]["spec"]["restartPolicy"] == "Never"


def test_the_rayjobs_runtime_env_is_what_ray_takes() -> None:
    given = yaml.safe_load(RAYJOB["spec"]["runtimeEnvYAML"])
    checked = RuntimeEnv(**given)
    assert checked["working_dir"] == given["working_dir"]
    assert checked["pip"]["packages"] == ["${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"]
    assert "py_modules" not in given  # or voxmill could not add its own
    assert not [name for name in given["env_vars"] if re.search("KEY|TOKEN|SECRET|PASSWORD", name)]  # shown by Ray


@pytest.mark.parametrize(("setup_s", "answer_s"), [(1800, 1800), (60, 600), (-1, 1e6), (None, 600)])
def test_nodes_may_take_as_long_as_the_rayjobs_runtime_env(
    setup_s: int | None, answer_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = yaml.safe_load(RAYJOB["spec"]["runtimeEnvYAML"])
    assert given["config"] == {"setup_timeout_seconds": 1800}
    given["config"] = {} if setup_s is None else {"setup_timeout_seconds": setup_s}
    monkeypatch.setattr(ray, "get_runtime_context", lambda: Mock(runtime_env=RuntimeEnv(**given)))
    assert _answer_s() == answer_s
