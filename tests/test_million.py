"""The steps of `tests.million` on a small corpus, so that its figures are of what they say."""

from pathlib import Path

import pytest

from tests.million import again_step, check_step, lookup_step, manifest, plan_step, run_step

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]
RECORDINGS = 5_000


def test_each_step_does_its_work(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus.parquet", tmp_path / "run"
    manifest(corpus, RECORDINGS)
    assert plan_step(corpus, out)["tasks"] > 1
    first = run_step(corpus, out)
    assert (first["recordings"], first["graph_s"] > 0) == (RECORDINGS, True)
    again = again_step(corpus, out)
    assert (again["recordings"], 0 < again["lost"] < RECORDINGS) == (RECORDINGS, True)
    assert check_step(corpus, out)["problems"] == 0
    assert lookup_step(corpus, out)["one_ms"] > 0
