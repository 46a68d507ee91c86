"""Corpora as they lie on disk -> runs: Kaldi, NeMo, lhotse, Common Voice, a saved dataset, standard input."""

import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import Audio, Dataset
from lhotse import CutSet, Recording, SupervisionSegment

from actors.codec import Codec
from pipeline import tokenize
from pipeline.cli.demo import CLIPS
from pipeline.errors import InputError
from pipeline.sources.manifests import opening
from pipeline.verify.check import check
from pipeline.verify.retry_failures import retry
from tests.helpers.commands import in_process
from tests.helpers.shards import write_files

CLIP = CLIPS / "en/frames.wav"


@pytest.fixture(scope="module", autouse=True)
def runs_in_this_process(small_model: Path) -> Iterator[None]:
    with in_process(Codec.load(str(small_model), device="cpu", precision="fp32")):
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    shutil.copy(CLIP, folder / "a.wav")
    nemo = {"audio_filepath": "a.wav", "id": "nemo", "offset": 0.25, "duration": 0.5, "text": "said"}
    write_files(
        folder,
        {
            "kaldi/wav.scp": b"rec ../a.wav\n",
            "kaldi/segments": b"kaldi rec 0.25 0.75\n",
            "kaldi/text": b"kaldi said\n",
            "nemo.json": json.dumps(nemo).encode(),
            "cv.tsv": b"path\tid\tstart_s\tend_s\ttext\na.wav\tvoice\t0.25\t0.75\tsaid\n",
        },
    )
    cut = Recording.from_file(folder / "a.wav").to_cut().truncate(offset=0.25, duration=0.5).with_id("cut")
    cut.supervisions = [SupervisionSegment("s", "a", 0, 0.5, text="said")]
    CutSet.from_cuts([cut]).to_file(folder / "cuts.jsonl.gz")
    rows = Dataset.from_dict({"audio": [str(folder / "a.wav")], "text": ["said"]})
    rows.cast_column("audio", Audio(decode=False)).save_to_disk(folder / "saved")
    return folder


def test_every_kind_gives_the_same_codes(corpus: Path, tmp_path: Path, small_model: Path) -> None:
    given = ["kaldi", "nemo.json", "cv.tsv", "cuts.jsonl.gz", "saved"]
    inputs = [str(corpus / name) for name in given]
    run = tokenize(inputs, tmp_path / "run", model=str(small_model), reconstruct=False, quiet=True)
    found = {recording.id: recording for recording in run}
    whole = found.pop("data-00000-of-00001.arrow/a.wav")
    assert sorted(found) == ["cut", "kaldi", "nemo", "voice"]
    assert whole.num_samples > found["nemo"].num_samples == 12_000
    assert all((one.codes == found["nemo"].codes).all() for one in found.values())
    assert set(run.table(["id", "text"])["text"].to_pylist()) == {"said"}
    assert check(tmp_path / "run", inputs).problems == []


def test_standard_input(
    corpus: Path, tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    opening.standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{corpus}/a.wav\n{corpus}/gone.wav\n".encode())))
    how = {"model": str(small_model), "reconstruct": False}
    run = tokenize(["-", str(corpus / "cv.tsv")], tmp_path / "run", **how)
    assert f"voxmill: {corpus}/cv.tsv: columns between tabs, nothing quoted" in capfd.readouterr().err
    assert len(run.failures()) == 1
    assert check(tmp_path / "run", ["-", str(corpus / "cv.tsv")], sample=1).problems == []
    with pytest.raises(InputError, match="came through standard input: pipe them in again and give --inputs -"):
        retry(tmp_path / "run")
    assert check(tmp_path / "run").problems == []  # the failures are still there
    assert "came through standard input" in check(tmp_path / "run", sample=1).problems[0]
    opening.standard_input.cache_clear()
