"""What the sections say of runs that are odd: no run.json, seams, few frames, other settings, large numbers."""

from typing import Any

import numpy as np
import pytest

from pipeline.errors import listed, plural
from pipeline.report.codebooks import CodebookUse
from pipeline.report.codes_section import codes_section
from pipeline.report.corpus import Corpus
from pipeline.report.exactness import agreement_section, seams_section
from pipeline.report.failures_section import failures_section
from pipeline.report.quality_section import quality_section
from pipeline.report.survey import Survey
from pipeline.report.verdict import verdict
from pipeline.report.where_time import where_time
from pipeline.report.words import hours, seconds, share
from pipeline.settings import Settings, changed_settings
from tests.helpers.rows import run_record

NOBODY = Survey(0, 0, [], [])


def test_parts_without_run_json() -> None:
    corpus = Corpus(recordings=3, chunks=3)
    for complete in (False, True):
        found = verdict(corpus, {}, complete)
        assert found.title == "No run.json: whether all is there is not known"
        assert "Without run.json nothing tells which inputs there were" in found.lead[1]
        assert ("restore a copy of it" in found.lead[1]) == complete
        assert "exactly once" not in str(found)
    assert seams_section(corpus, {}).lead[0].startswith("There is no run.json")
    assert "not measured in this run" in agreement_section({}).lead[0]
    assert "not recorded" in where_time({}).lead[0]
    assert "could be compared" in quality_section(NOBODY).lead[0]
    assert failures_section(corpus).lead == ["No recording failed."]


def test_the_verdict_names_what_is_wrong() -> None:
    twice, torn = Corpus(recordings=3, doubles=2), Corpus(recordings=3, partial=1)
    assert verdict(twice, run_record(), complete=True).title == "2 ids more than once: run voxmill check"
    assert "1 long recording without all chunks" in verdict(torn, run_record(), complete=False).lead[1]
    limited = verdict(torn, run_record(state="limited", limit=3), complete=False)
    assert limited.title.startswith("The first recordings")
    assert ("limit", "3") in limited.tables[0].rows


COUNTS = {"recordings": 3, "chunks": 4, "failures": 0, "skipped": 0}
WHOLE = {"recordings": 3, "begun": 3, "chunks": 4, "parts": ["part-a", "part-b"]}


@pytest.mark.parametrize(
    ("there", "title", "said"),
    [
        ({}, "Complete, without failures", "found every input exactly once"),
        (
            {"recordings": 2, "begun": 2, "chunks": 2, "parts": ["part-a"]},
            "Parts are missing: run voxmill check",
            "but run.json counts 3 recordings with codes, the parts hold 2; "
            "run.json counts 4 chunks, the parts hold 2; missing parts of codes: part-b. voxmill check RUN",
        ),
        ({"recordings": 0, "begun": 0, "chunks": 0, "parts": []}, "Parts are missing", "part-a, part-b. voxmill check"),
        ({"skipped": 1}, "Not what run.json counts", "run.json counts 0 skipped recordings, the parts hold 1."),
        ({"parts": ["part-a", "part-b", "part-c"]}, "Not what run.json counts", "does not name: part-c. voxmill check"),
        ({"recordings": 2, "partial": 1, "chunks": 3}, "Parts are missing", "1 long recording without all chunks, but"),
    ],
)
def test_the_verdict_compares_the_parts_with_run_json(there: dict[str, Any], title: str, said: str) -> None:
    corpus, parts = Corpus(**{**WHOLE, **there}), {"part-a": "0", "part-b": "1"}
    found = verdict(corpus, run_record(counts=COUNTS, parts=parts), complete=True)
    assert found.title.startswith(title)
    assert said in found.lead[1]
    assert ("exactly once" in found.lead[1]) == (not there)
    limited = verdict(corpus, run_record(counts=COUNTS, parts=parts, state="limited", limit=3), complete=False)
    assert limited.title.startswith(title if there else "The first recordings")
    running = verdict(corpus, run_record(counts=COUNTS, parts=parts, state="running"), complete=True)
    assert running.title.startswith("Not complete")  # its counts are those of an earlier attempt
    assert "has not compared the inputs" in running.lead[1]


def test_the_verdict_names_the_latest_commands() -> None:
    def made(*commands: str | None) -> list[tuple[str, ...]]:
        found = [{"started": "2026", "wall_s": 1.0, "times_real_time": 2.0, "command": one} for one in commands]
        return verdict(Corpus(), run_record(attempts=found), complete=True).tables[0].rows

    assert ("command", "voxmill tokenize b, voxmill tokenize a") in made(
        "voxmill tokenize a", None, *["voxmill tokenize b"] * 9
    )
    assert ("command", "d, c, b and 1 more") in made("a", "b", "c", "d")
    assert made(None)[0] == ("command", "not recorded: an older version made the run")
    going = run_record(
        attempts=[], running={"started": "2027", "command": "b"}, unfinished=[{"started": "2026", "command": "a"}]
    )
    rows = dict(verdict(Corpus(), going, complete=False).tables[0].rows)
    assert rows["command"] == "b, a"
    assert rows["attempts"] == "none finished, 2 that did not come to their end (or run now); the first started 2026"


def test_settings_that_differ_are_shown_without_credentials() -> None:
    settings = Settings(precision="bf16").model_dump(mode="json")
    settings["chunk"]["length_s"] = 60.0
    settings["model"] = "https://user:secret@host/model?token=secret"
    found = changed_settings(settings)
    assert found == ["model=https://host/model", "precision=bf16", "chunk.length_s=60.0"]
    assert changed_settings(Settings().model_dump(mode="json")) == []
    inputs = run_record(inputs=["s3://key:secret@bucket/x?a=b"])
    assert "secret" not in str(verdict(Corpus(), inputs, complete=True))


@pytest.mark.parametrize(("device", "shown"), [("cuda", ["30.0 min"]), ("cpu", []), ("cpu, cuda", [])])
def test_audio_per_gpu_hour_is_of_both_pools(device: str, shown: list[str]) -> None:
    """An hour of audio in an hour on two GPUs, half of each for each pool; of a merged run, not all was on GPUs."""
    pool = {"workers": 2, "calls": 1, "audio_s": 3600.0, "busy_s": 1.0, "waited_s": 0.0}
    stages = {"encode": pool, "decode": pool}
    attempt = {
        **run_record()["attempts"][0],
        "wall_s": 3600.0,
        "audio_s": 3600.0,
        "times_real_time": 1.0,
        "stages": stages,
    }
    half = {"encode": {"gpus": 0.5}, "decode": {"gpus": 0.5}}
    found = verdict(Corpus(), run_record(device=device, settings=half, attempts=[attempt]), complete=True)
    assert [value for value, name in found.tiles if "GPU hour" in name] == shown


@pytest.mark.parametrize(
    ("attention", "needed", "said"),
    [
        ("window", 1_920_000, "chunks equal the whole"),
        ("window", 1_921_920, "a code depends on up to 80.08 s, so codes behind a seam differ a little"),
        ("full", 1_920_000, "differ a little"),
    ],
)
def test_seams_say_what_run_json_knows(attention: str, needed: int, said: str) -> None:
    chunk = {"samples": 7_200_000, "context_samples": 1_920_000}
    record = run_record(attention=attention, chunk=chunk, exact_context_samples=needed, counts={"context_s": 3600.0})
    corpus = Corpus(recordings=2, chunks=5, samples=24_000 * 3600 * 3)
    lead = seams_section(corpus, record).lead[0]
    assert lead.startswith("3 seams between chunks of 300 s. Each chunk was encoded behind the 80 s before it.")
    assert said in lead
    assert "The context was 25% of the encoding (1.0 h)" in lead
    assert "there are no seams" in seams_section(Corpus(recordings=2, chunks=2), record).lead[0]


def test_a_page_does_not_grow_with_inputs_and_attempts() -> None:
    attempt = {"started": "2026", "wall_s": 1.0, "times_real_time": 2.0}
    record = run_record(inputs=[f"{number}.wav" for number in range(1000)], attempts=[attempt] * 500)
    assert len(str(verdict(Corpus(), record, complete=True))) < 3000
    (table,) = where_time(record).tables
    assert table.caption == "The last 20 of 500 attempts"
    assert len(table.rows) == 20


def test_few_frames_are_called_few() -> None:
    counts = np.zeros((16, 2048), np.int64)
    counts[:, 0] = 100
    few = CodebookUse(100, 1, counts, [])
    assert few.entropy_bits.tolist() == [0.0] * 16
    assert any("That is few" in text for text in codes_section(few).lead)
    assert not any("That is few" in text for text in codes_section(CodebookUse(50_000, 1, counts * 500, [])).lead)
    assert codes_section(None).lead == ["There are no codes."]


def test_words() -> None:
    assert [hours(value) for value in (0, 1 / 3600, 0.5, 1234.56)] == ["0.0 s", "1.0 s", "30.0 min", "1,234.6 h"]
    assert seconds(90) == "1.5 min"
    assert [share(part, 1000) for part in (0, 1, 5, 500, 999, 1000)] == ["0%", "0.1%", "0.5%", "50%", "99.90%", "100%"]
    assert share(1, 0) == "0%"
    assert listed(["a", "b", "c"], most=2) == "a, b and 1 more"
    assert listed(["a", "b"], most=2) == "a, b"
    assert [plural(count, "id") for count in (0, 1, 1000)] == ["0 ids", "1 id", "1,000 ids"]
