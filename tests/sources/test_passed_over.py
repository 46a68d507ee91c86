"""What is no input is counted by its suffix, in a few keys whatever the corpus holds."""

from pathlib import Path

import pytest

from pipeline.sources import folder
from pipeline.sources.inputs import discover_all
from pipeline.sources.passed_over import EMPTY, bounded, in_words, kind_of_other
from pipeline.sources.plan import plan
from tests.helpers.s3 import s3_server
from tests.helpers.shards import contents, write_files


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/b.TXT", ".txt"),
        ("a.b/README", "without suffix"),
        ("x.tar.lz4", ".lz4"),
        (".DS_Store", "hidden"),
        ("a/.git/config.txt", "hidden"),
        ("talk.of 3 may, second take", "without suffix"),
        ("a.0123456789ab", "without suffix"),
        ("a.", "without suffix"),
    ],
)
def test_kinds(path: str, kind: str) -> None:
    assert kind_of_other(path) == kind


def test_the_rare_ones_are_summed() -> None:
    counts = {f".{number}": number for number in range(1, 15)}
    found = bounded(counts)
    assert list(found.items())[:2] == [(".14", 14), (".13", 13)]
    assert len(found) == 11
    assert found["others"] == 1 + 2 + 3 + 4
    assert bounded(found) == found
    assert in_words({".jpg": 1_234, "without suffix": 1}) == "1,234 .jpg, 1 without suffix"
    assert in_words({}) == "nothing"


def test_a_folder_of_many_kinds_is_a_few_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_KINDS", 5)
    write_files(tmp_path, {"a.wav": b"A", **{f"{number}.x{number % 9}": b"" for number in range(90)}})
    found = plan([str(tmp_path)]).passed_over
    assert found.total() == 90
    assert len(found) == 6


def test_keys_of_a_store_that_are_no_paths() -> None:
    """pyarrow opens none of those with "//", and two of them must not become one, nor a tab nothing."""
    objects = {"c/a.wav": b"A", "c//a.wav": b"B", "c/x//e.wav": b"C", "c//s.tar": b"D"}
    objects |= {"c/t\tx.wav": b"E", "c/tx.wav": b"F"}
    with s3_server("speech", objects) as endpoint:
        query = f"?endpoint_override=http%3A%2F%2F{endpoint.replace(':', '%3A')}"
        found = discover_all([f"s3://k:s@speech/c/{query}"])
        assert contents(plan([f"s3://k:s@speech/c/{query}"])) == {
            "a.wav": b"A",
            "t\\x09x.wav": b"E",
            "tx.wav": b"F",
        }
    assert found.passed_over == {EMPTY: 3}
