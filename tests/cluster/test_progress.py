"""What a log says: a line at the start of a phase, and one now and then even where nothing moves."""

import time

import pytest

from pipeline.cluster import progress
from pipeline.cluster.progress import Counts, phase, watch


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.1)
    monkeypatch.setattr(progress, "_interactive", lambda: False)


def test_a_phase_says_that_it_lives(capsys: pytest.CaptureFixture[str]) -> None:
    with phase("plan"):
        time.sleep(0.35)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "voxmill: plan"
    assert len(rest) >= 2
    assert all(line.startswith("voxmill: plan: 0 s") for line in rest)


def test_counts_are_said_again_though_they_stand_still(capsys: pytest.CaptureFixture[str]) -> None:
    with watch(lambda: Counts(3, 24_000, 1), 10):
        time.sleep(0.35)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "voxmill: read"
    assert len(rest) >= 2
    assert all("read: 4 of 10 recordings" in line and "1 failures" in line for line in rest)


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with phase("plan", quiet=True), watch(Counts, 10, quiet=True):
        time.sleep(0.15)
    assert capsys.readouterr() == ("", "")
