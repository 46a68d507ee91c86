"""Shared fixtures: a small random checkpoint, a local Ray, synthetic audio."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.helpers.faults.corpus import Corpus

hypothesis.settings.register_profile("no deadline", deadline=None)  # machines that tests share stall
hypothesis.settings.load_profile("no deadline")
os.environ["RAY_AUTH_MODE"] = "disabled"  # a local Ray would write a token under the home directory
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores: more threads would wait for each other
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have it ignored in the background
LONGEST = (
    "test_faults_of_nodes.py",
    "test_faults.py",
    "test_notebooks.py",
    "test_faults_of_drivers.py",
    "test_flow.py",
    "test_readme.py",
)
"""Files that take minutes with `-m slow`. A file runs in one worker: what comes last must be short."""


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a seeded random checkpoint of about 1 M parameters."""
    from actors.random_model import save_random_checkpoint, small_config

    return save_random_checkpoint(tmp_path_factory.mktemp("small-model"), small_config())


@pytest.fixture(scope="session", autouse=True)
def no_reports() -> Iterator[None]:
    """Runs in this process write no page at their end: it takes seconds, and hundreds of tests read none. Those of the
    report put it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.report.at_end.report_at_end", lambda location, wall_s, wanted: None)
        yield


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of 2 CPUs that every end-to-end test of a worker shares; nothing of it is left behind."""
    import ray

    from pipeline.cluster.one_node import no_actors, no_processes

    with tempfile.TemporaryDirectory(prefix="vx", ignore_cleanup_errors=True) as folder:  # short: it holds sockets
        with no_processes():
            ray.init(
                address="local",
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=400 * 2**20,
                _temp_dir=folder,
            )
        with no_actors():
            yield
        ray.shutdown()


@pytest.fixture(scope="session")
def fault_corpus(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> "Corpus":
    """Some 20 files, and the codes of a run that nothing disturbed: what faults are tried on."""
    from actors.codec import Codec
    from tests.helpers.commands import in_process
    from tests.helpers.faults.corpus import make_corpus, undisturbed

    place = tmp_path_factory.mktemp("faults")
    with in_process(Codec.load(str(small_model), device="cpu", precision="fp32")):
        return undisturbed(make_corpus(place / "corpus", 10), place / "run", small_model)


@pytest.fixture
def runs_in_process(small_model: Path) -> Iterator[None]:
    """`tokenize` with `small_model`, in fp32 and without reconstructions, runs in this process, without Ray."""
    from actors.codec import Codec
    from tests.helpers.commands import in_process

    with in_process(Codec.load(str(small_model), device="cpu", precision="fp32")):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; long files come first, then those that use Ray."""
    import torch

    with_ray = {item.path for item in items if "local_ray" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path.name not in LONGEST, item.path not in with_ray))
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device")
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(skip)
