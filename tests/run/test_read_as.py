"""How a run's inputs were read, command after command."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.run.read_as import READ_AS, one_way, read_as, refuse_other_column, refuse_unknown, rules_of
from tests.helpers.rows import run_record


def record(*inputs: str, **rules: Any) -> dict[str, Any]:
    """run.json of a command with these settings below `input`."""
    settings = run_record()["settings"]
    return run_record(inputs=list(inputs), settings={**settings, "input": {**settings["input"], **rules}})


def then(before: dict[str, Any], *inputs: str, **rules: Any) -> dict[str, Any]:
    """run.json after a further command, as `resume` makes it."""
    after = record(*inputs, **rules)
    others = read_as([before, after], after["settings"])
    return {**after, "inputs": list(dict.fromkeys([*before["inputs"], *inputs])), READ_AS: others}


def test_each_input_keeps_its_rules() -> None:
    run = then(then(record("/a", "/b", root="/one"), "/c", root="/two"), "/d", channels=2)
    assert set(run[READ_AS]) == {"/a", "/b", "/c"}
    assert [rules_of(run, name)["root"] for name in ("/a", "/b", "/c", "/d", "/new")] == [
        "/one",
        "/one",
        "/two",
        None,
        None,
    ]
    assert [rules_of(run, name)["channels"] for name in ("/a", "/d")] == ["mean", 2]
    run = then(run, "/a", root="/one")  # as it was
    assert set(run[READ_AS]) == {"/c", "/d"}
    run = then(run, "/a", "/c", "/d", root="/one")  # anew
    assert run[READ_AS] == {}


def test_names_are_those_of_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = then(record(str(tmp_path / "a"), "s3://bucket/c/", root="/one"), "/d")
    assert rules_of(run, "a")["root"] == "/one"
    assert rules_of(run, "s3://key:secret@bucket/c/")["root"] == "/one"


def test_older_runs_do_not_say() -> None:
    old = run_record()
    del old["settings"]["input"]
    assert rules_of(old, "corpus/") == {"column": None, "root": None, "channels": "mean"}
    assert then(old, "/d")[READ_AS] == {}


def test_a_column_stays_that_of_its_input() -> None:
    before = then(record("/a", column="mic1"), "/b", column="mic2")
    for inputs, column in ((["/a"], "mic1"), (["/b", "/c"], "mic2"), (["/c"], "mic3"), (["/a"], None)):
        refuse_other_column(before, record(*inputs, column=column))
    with pytest.raises(InputError, match=r"/a was read with input.column=mic1, now it is mic2"):
        refuse_other_column(before, record("/c", "/a", column="mic2"))


def test_what_was_read_in_several_ways_is_asked_for() -> None:
    run = then(record("/a", root="/one"), "/b", root="/two")
    assert one_way(run, ["/a"])["root"] == "/one"
    with pytest.raises(InputError, match=r"/a was read with input.root=/one, /b with /two, .* one after the other"):
        one_way(run, ["/a", "/b"])
    one_way(run, ["/a", "/b"], {"root"})
    refuse_unknown(run, ["/a", "/b"], ())
    with pytest.raises(InputError, match=r"/moved/a is no input of the run, .* --set input.root="):
        refuse_unknown(run, ["/moved/a"], {"channels"})
    refuse_unknown(run, ["/moved/a"], {"root"})
    refuse_unknown(record("/a", root="/one"), ["/moved/a"], ())
