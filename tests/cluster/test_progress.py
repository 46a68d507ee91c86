"""What a log says: a line at the start of a phase, and one now and then even where nothing moves; a notebook's line."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.cluster import progress
from pipeline.cluster.progress import Finished, one_line, phase, watch


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.1)
    monkeypatch.setattr(progress, "_interactive", lambda: False)


def test_a_phase_in_a_terminal_says_something_only_where_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_interactive", lambda: True)
    monkeypatch.setattr(progress, "LOG_EVERY_S", 60.0)
    with phase("plan"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.1)
    seen = threading.Event()
    monkeypatch.setattr(progress, "log_line", lambda line: (lines.append(line), seen.set()))
    lines: list[str] = []
    with phase("plan"):
        assert seen.wait(20)
    assert re.fullmatch(r"plan: \d+ s so far", lines[0])


def test_a_phase_says_that_it_lives(capsys: pytest.CaptureFixture[str]) -> None:
    with phase("plan"):
        time.sleep(0.35)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "voxmill: plan"
    assert len(rest) >= 2
    assert all(line.startswith("voxmill: plan: 0 s") for line in rest)


def test_counts_are_said_again_though_they_stand_still(capsys: pytest.CaptureFixture[str]) -> None:
    with watch(lambda: Finished(3, 24_000, 1), 10):
        time.sleep(0.35)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "voxmill: read"
    assert len(rest) >= 2
    assert all("read: 4 of 10 recordings" in line and "1 failure" in line for line in rest)


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with phase("plan", quiet=True), watch(Finished, 10, quiet=True):
        time.sleep(0.15)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a cell of a notebook displays and updates, in order."""
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "MOVE_EVERY_S", 0.02)
    published = CapturingDisplayPublisher()
    monkeypatch.setattr(InteractiveShell.instance(), "display_pub", published)
    yield published.outputs
    InteractiveShell.clear_instance()


def test_a_notebook_has_one_line_that_moves(cell: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    done = iter([Finished(1, 24_000, 0), Finished(2, 48_000, 0)])
    with one_line():
        with phase("start"):
            time.sleep(0.1)
        with watch(lambda: next(done, Finished(3, 72_000, 1)), 4):
            time.sleep(0.2)
        with phase("finish"):
            time.sleep(0.05)
    assert [one["update"] for one in cell] == [False] + [True] * (len(cell) - 1)  # displayed once, then updated
    assert len({one["transient"]["display_id"] for one in cell}) == 1
    said = [one["data"]["text/plain"] for one in cell]
    order = ("start: 0 s", "1 of 4", "2 of 4", "4 of 4 recordings, 3 s audio", "finish: 0 s")
    assert [next(n for n, one in enumerate(said) if words in one) for words in order] == sorted(
        next(n for n, one in enumerate(said) if words in one) for words in order
    )
    assert re.fullmatch(r"voxmill: 4 of 4 recordings, 3 s audio, .*, 1 failure; done in 0 s", said[-1])
    assert '<progress value="1.0000" max="1"' in cell[-1]["data"]["text/html"]
    assert any('value="0.2500"' in one["data"]["text/html"] for one in cell)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_where_nothing_is_left_to_do(cell: list[dict[str, Any]]) -> None:
    with one_line(), phase("plan"):
        pass
    assert cell[-1]["data"]["text/plain"] == "voxmill: nothing was left to do; done in 0 s"


@pytest.mark.parametrize(
    ("error", "says"), [(KeyboardInterrupt, "stopped; what is committed is kept"), (ValueError, "ended by an error")]
)
def test_a_notebook_where_a_run_does_not_come_to_its_end(
    cell: list[dict[str, Any]], error: type[BaseException], says: str
) -> None:
    with contextlib.suppress(error), one_line(), watch(lambda: Finished(3, 72_000, 1), 40):
        raise error
    assert re.match(rf"voxmill: 4 of 40 recordings, .*; {says}", cell[-1]["data"]["text/plain"])
    with contextlib.suppress(error), one_line(), phase("plan"):
        raise error
    assert cell[-1]["data"]["text/plain"].startswith(f"voxmill: nothing was read; {says}")


def test_a_quiet_notebook(cell: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    with one_line(quiet=True), phase("plan", quiet=True), watch(Finished, 10, quiet=True):
        time.sleep(0.1)
    assert cell == []
    assert capsys.readouterr() == ("", "")
