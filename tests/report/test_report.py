"""The page of a run: complete, escaped, self-contained; written by the command, and at the end of a run."""

import json
import os
import time
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem

from pipeline import open_run, tokenize, write_report
from pipeline.cli.show import result_text
from pipeline.errors import InputError, OutputError
from pipeline.report import at_end
from pipeline.report.at_end import report_at_end
from pipeline.report.quality import measures
from pipeline.run.keys import Keys
from pipeline.run.run_json import save
from pipeline.run.sums import checksums
from pipeline.run.totals import count
from pipeline.run.write import write_parts
from tests.export_speed import fabricate
from tests.helpers.commands import speak, voxmill
from tests.helpers.reported import HOSTILE, finished, hostile_failure, reported_run, timed_attempt
from tests.helpers.rows import coded_row, failed_row, run_record

SECTIONS = ["verdict", "time", "corpus", "codes", "agreement", "seams", "quality", "failures", "players"]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a page holds, and whether its elements are closed as they were opened."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text())
        assert self.path == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.path += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_a_page_shows_all_sections_and_fetches_nothing(tmp_path: Path) -> None:
    ids = [f"spk/{number}.wav" for number in range(8)] + [f"{HOSTILE}$x_1$.wav"]
    run = reported_run(
        tmp_path,
        ids,
        [hostile_failure()],
        attempts=[timed_attempt()],
        agreement_with_fp32=[0.94] * 16,
        warnings=["odd"],
    )
    page = Page(Path(write_report(open_run(run))))
    assert [one["id"] for one in page.all("section")] == SECTIONS
    assert "Complete, 10% failed" in page.text
    assert "10 recordings = 9 with codes + 1 failed + 0 skipped" in page.text
    assert "the run's audit found every input exactly once" in page.text
    assert "The bottleneck is encode: its 2 workers were busy 95% of the time" in page.text
    assert "94.00% of the codes of codebook 0" in page.text
    assert "0" * 64 in page.text  # the checkpoint's hash
    assert "model=demo" not in page.text  # the settings of this record are the defaults
    pictures = [attributes for attributes in page.all("svg") if attributes["role"] == "img"]
    assert all(attributes["aria-label"] for attributes in pictures)
    assert len(pictures) == len(page.all("figure")) == 3 + 8 + 6 + 1 + len(measures())
    players = page.all("audio")
    assert len(players) == 2 * 9
    assert all("controls" in one and one["aria-label"] for one in players)
    assert not page.all("script")
    assert f"{HOSTILE} & more" in page.text  # shown as text
    links = [
        value for _, attributes in page.found for key, value in attributes.items() if key.endswith(("href", "src"))
    ]
    assert links
    assert all(str(link).startswith(("#", "data:")) for link in links)
    assert "http" not in (run / "report.html").read_text().replace("data:", "")


def test_a_run_without_codes_and_one_that_is_not_complete(tmp_path: Path) -> None:
    write_parts(hostile_failure(), LocalFileSystem(), str(tmp_path / "run"))
    run = finished(tmp_path / "run", attempts=[])
    assert "Complete, and no recording has codes" in Page(Path(write_report(run))).text
    (run / "_SUCCESS").unlink()
    assert "Not complete: the same command (without --overwrite) goes on" in Page(Path(write_report(run))).text


def test_a_run_that_lost_parts_is_not_certified(tmp_path: Path) -> None:
    for id_ in ("a", "b"):
        write_parts(coded_row(id_, 1920), LocalFileSystem(), str(tmp_path / "run"))
    write_parts(failed_row("f"), LocalFileSystem(), str(tmp_path / "run"))
    files = sorted((tmp_path / "run" / "codes").iterdir())
    counts = count(Keys(LocalFileSystem(), str(tmp_path / "run")), 0)
    run = finished(tmp_path / "run", counts=counts, parts=checksums(LocalFileSystem(), str(tmp_path / "run"), {}))

    def text() -> str:
        return Page(Path(write_report(run, 0))).text

    assert "Complete, 33.3% failed" in text()
    files[0].unlink()
    assert "Parts are missing: run voxmill check" in (said := text())
    assert "counts 2 recordings with codes, the parts hold 1" in said
    assert f"missing parts of codes: {files[0].name}." in said
    assert "exactly once" not in said
    files[1].unlink()
    assert "Parts are missing: run voxmill check" in (said := text())
    assert "counts 2 recordings with codes, the parts hold 0" in said
    write_parts(coded_row("a", 1920), LocalFileSystem(), str(run))
    (run / "run.json").unlink()
    assert "No run.json: whether all is there is not known" in (said := text())
    assert "exactly once" not in said


def test_a_page_does_not_keep_parts_from_being_read(tmp_path: Path) -> None:
    run = reported_run(tmp_path, ["a.wav"], [hostile_failure()])
    for location in (run / "codes", f"{run}/codes/", open_run(run / "codes"), run / "failures"):
        with pytest.raises(InputError, match=f"is a folder of a run; expected the run: {run}$"):
            write_report(location, 0)
    (part,) = (run / "codes").iterdir()
    with pytest.raises(InputError, match=rf"\.parquet is a file; expected a run, or a folder .* {run}/codes$"):
        write_report(part, 0)
    bare = tmp_path / "bare"
    bare.mkdir()
    part.rename(bare / "x.parquet")
    page = write_report(bare, 0)
    assert page == f"{bare}/_report.html"
    assert "1 recording = 1 with codes" in Page(Path(page)).text
    assert len(pq.read_table(bare)) == len(open_run(bare)) == 1


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_no_sample_can_have_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    run = reported_run(tmp_path, ["a.wav"])
    assert voxmill("report", run, "--sample", 0, "--seed", seed) == 2
    assert f"the seed is {seed}; expected 0 to {2**64 - 1}" in capsys.readouterr().err
    assert voxmill("report", run, "--sample", 0, "--seed", 2**64 - 1) == 0


def test_a_page_that_is_older_than_the_run_is_told(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    write_parts(coded_row("a", 1920), LocalFileSystem(), str(run))
    counts = {"recordings": 1, "failures": 0, "audio_s": 0.08, "context_s": 0.0, "frames": 1}
    save(LocalFileSystem(), str(run), run_record(counts=counts))
    assert result_text(open_run(run)).endswith(f"report    voxmill report '{run}'")
    (run / "report.html").touch()
    assert result_text(open_run(run)).endswith(f"report    {run}/report.html")
    said = f"old report  {run}/report.html, older than the end of the run\nreport      voxmill report '{run}'"
    attempt = open_run(run).summary()["attempts"][-1]
    ended = datetime.fromisoformat(attempt["started"]).timestamp() + attempt["wall_s"]
    for seconds, is_old in ((ended, False), (ended + 60, False), (ended - 1, True), (0, True)):
        os.utime(run / "report.html", (seconds, seconds))
        assert result_text(open_run(run)).endswith(said) == is_old


@pytest.mark.usefixtures("runs_in_process")
def test_a_run_writes_its_page_and_a_failing_one_is_a_warning(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(at_end, "report_at_end", report_at_end)
    corpus = speak(tmp_path / "corpus", {"a.wav": 1.0, "b.wav": 0.5})
    options = {"model": str(small_model), "reconstruct": False, "quiet": True}
    tokenize(corpus, tmp_path / "run", **options)  # takes too little time for a page
    assert not (tmp_path / "run" / "report.html").exists()
    assert f"voxmill report {tmp_path}/run" in result_text(open_run(tmp_path / "run"))
    monkeypatch.setattr(at_end, "PAGE_S", 0.0)
    tokenize(corpus, tmp_path / "run", **options, settings={"output.report": False})
    assert not (tmp_path / "run" / "report.html").exists()
    tokenize(corpus, tmp_path / "run", **options)
    said = Page(tmp_path / "run" / "report.html").text
    assert "2 recordings = 2 with codes" in said
    assert "the run's audit found every input exactly once" in said  # run.json of a real run counts as the page does
    assert result_text(open_run(tmp_path / "run")).endswith(f"report    {tmp_path}/run/report.html")

    def fails(location: str, seconds: float) -> str:
        raise OutputError(f"no room for {seconds} s")

    monkeypatch.setattr("pipeline.report.write.write_report", fails)
    capsys.readouterr()
    run = tokenize(corpus, tmp_path / "run", **options, overwrite=True)
    assert run.summary()["state"] == "complete"
    assert "warning: the report could not be written (OutputError: no room for" in capsys.readouterr().err
    assert not (tmp_path / "run" / "report.html").exists()  # the page of the deleted run is gone with it


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = reported_run(tmp_path, ["a.wav"])
    assert voxmill("report", run, "--sample", 0) == 0
    assert "nothing is said of sound" in (run / "report.html").read_text()
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert voxmill("report", tmp_path / "nothing") == 2
    (run / "run.json").write_text(json.dumps({"state": 3}))
    assert voxmill("report", run) == 2


@pytest.mark.slow
def test_a_large_run_takes_seconds_and_little_room(tmp_path: Path) -> None:
    fabricate(tmp_path / "run", 20_000)
    run = finished(tmp_path / "run")
    begin_s = time.process_time()
    page = Page(Path(write_report(run)))
    assert time.process_time() - begin_s < 12  # 60 s of 100,000 recordings
    assert (run / "report.html").stat().st_size < 10 << 20
    assert "20,000 recordings = 20,000 with codes" in page.text
    assert "None of 200 sampled sources could be read again" in page.text
    assert "200,000 frames" in page.text
