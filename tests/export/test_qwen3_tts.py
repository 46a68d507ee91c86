"""Exports for Qwen3-TTS fine-tuning, as upstream's and ms-swift's datasets read them.

Their dataset classes are in no package that can be installed beside this one: upstream's finetuning/dataset.py is in no
wheel, ms-swift needs older versions. `read` states what both do with a record, with upstream's own mel_spectrogram and
librosa. With QWEN3_TTS set to a checkout of github.com/QwenLM/Qwen3-TTS, upstream's own class and collate read it too.
"""

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

import datasets
import librosa
import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from pyarrow.fs import LocalFileSystem

from actors.compat import placeholders
from pipeline import export_run
from pipeline.errors import InputError
from pipeline.run.run_json import save
from pipeline.run.write import write_parts
from pipeline.schema import CODES_SCHEMA
from pipeline.settings import load_settings
from tests.helpers.commands import voxmill
from tests.helpers.exported import TEXTS, expected_codes, make_run
from tests.helpers.rows import coded_row, run_record

CODES = expected_codes()
ID_OF = {text: id_ for id_, text in TEXTS.items() if text}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """1.5 s in stereo at 44.1 kHz."""
    tone = 0.3 * np.sin(np.arange(66_150) * 0.05)
    soundfile.write(tmp_path / "anna.flac", np.stack([tone, tone / 2], axis=1), 44_100)
    return tmp_path / "anna.flac"


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def read(codes: list[list[int]], ref_audio: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What TTSDataset.__getitem__ and Qwen3TTSTemplate._encode make of them: codes int64 [F, 16], mel [1, n, 128]."""
    with placeholders():
        from qwen_tts.core.models.modeling_qwen3_tts import mel_spectrogram

    wave, rate = librosa.load(ref_audio, sr=None, mono=True)
    assert rate == 24_000
    sizes = {"n_fft": 1024, "num_mels": 128, "hop_size": 256, "win_size": 1024, "fmin": 0, "fmax": 12_000}
    mel = mel_spectrogram(torch.from_numpy(wave).unsqueeze(0), sampling_rate=24_000, **sizes).transpose(1, 2)
    return torch.tensor(codes, dtype=torch.long), mel


def test_qwen3_tts(run: Path, tmp_path: Path, reference: Path) -> None:
    done = export_run(
        run, "qwen3-tts", tmp_path / "out", text="text", language="json.lang", ref_audio=reference, shard_recordings=2
    )
    records = lines(tmp_path / "out")
    assert sorted(record["text"] for record in records) == sorted(ID_OF)
    assert (done.recordings, done.without_text) == (5, 1)
    mels = []
    for record in records:
        assert list(record) == ["audio", "text", "ref_audio", "language", "audio_codes"]
        codes, mel = read(record["audio_codes"], record["ref_audio"])
        assert np.array_equal(codes.numpy(), CODES[ID_OF[record["text"]]])
        assert record["audio"] == f"/nowhere/{ID_OF[record['text']]}.wav"
        mels.append(mel)
    assert torch.cat(mels, dim=0).shape[0] == len(records)  # collate_fn
    assert not list((tmp_path / "out").glob("train-*"))


def test_ms_swift(run: Path, tmp_path: Path, reference: Path) -> None:
    export_run(run, "ms-swift", tmp_path / "out", text="text", ref_audio=reference, shard_recordings=2)
    parts = sorted(map(str, (tmp_path / "out").glob("train-*.parquet")))
    loaded = datasets.load_dataset("parquet", data_files=parts, cache_dir=str(tmp_path / "cache"))["train"]
    text = datasets.Value("string")
    assert loaded.features == {
        "messages": datasets.List({"role": text, "content": text}),
        "audios": datasets.List(text),
        "ref_audios": datasets.List(text),
        "audio_codes": datasets.List(datasets.List(datasets.Value("int64"))),
    }
    seen = set()
    for row in loaded:
        (message,), (audio,), (ref_audio,) = row["messages"], row["audios"], row["ref_audios"]
        codes, _ = read(row["audio_codes"], ref_audio)
        assert np.array_equal(codes.numpy(), CODES[ID_OF[message["content"]]])
        assert (message["role"], audio) == ("assistant", f"/nowhere/{ID_OF[message['content']]}.wav")
        seen.add(message["content"])
    assert seen == set(ID_OF)


def test_the_reference_is_what_librosa_resamples(run: Path, tmp_path: Path, reference: Path) -> None:
    export_run(run, "qwen3-tts", tmp_path / "out", text="text", ref_audio=reference)
    wave, rate = soundfile.read(tmp_path / "out" / "ref.wav", dtype="float32")
    expected, _ = librosa.load(reference, sr=24_000, mono=True)
    assert (rate, wave.shape) == (24_000, expected.shape)
    assert np.abs(wave - expected).max() < 1e-4  # PCM 16


def test_without_a_reference_each_recording_is_its_own(run: Path, tmp_path: Path) -> None:
    export_run(run, "qwen3-tts", tmp_path / "out", text="text")
    assert all(record["ref_audio"] == record["audio"] for record in lines(tmp_path / "out"))


@pytest.mark.parametrize("to", ["qwen3-tts", "ms-swift"])
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"source": "/corpus/one.tar::b/c.flac"}, "/corpus/one.tar::b/c.flac"),
        ({"source": "s3://key:secret@bucket/a.wav"}, "s3://bucket/a.wav"),
        ({"source": "file:///corpus/%FF.wav"}, "file:///corpus/%FF.wav"),
        ({"start_s": 1.5}, "/nowhere/long.wav, start_s 1.5"),
        ({"start_s": 0.0, "end_s": 2.0}, "/nowhere/long.wav, start_s 0, end_s 2"),
        ({"channel": 2, "source_channels": 2}, "/nowhere/long.wav, channel 2"),
    ],
)
def test_recordings_that_no_trainer_can_open(
    tmp_path: Path, reference: Path, to: str, more: dict[str, Any], says: str
) -> None:
    folder, out = make_run_of(tmp_path / "run", more), tmp_path / "out"
    with pytest.raises(InputError, match=rf"^1 of 2 recordings cannot .* {re.escape(says)}\. .*--ref-audio FILE"):
        export_run(folder, to, out, text="text")
    assert not out.exists()
    assert export_run(folder, to, out, text="text", ref_audio=reference).written == 1


def test_a_file_of_one_channel_is_its_own_reference(tmp_path: Path) -> None:
    assert export_run(make_run_of(tmp_path / "run", {}), "qwen3-tts", tmp_path / "out", text="text").written == 1


def make_run_of(folder: Path, more: dict[str, Any]) -> Path:
    """A run of a whole file, the only channel of it, and of a recording of two chunks with the columns `more`."""
    values = {name: pa.array([value], CODES_SCHEMA.field(name).type) for name, value in more.items()}
    text = pa.array(["hello"])
    rows = [
        coded_row("one", 1920, channel=pa.array([1], pa.int32()), text=text),
        coded_row("long", 2 * 1920, 0, 2, 0, text=text, **values),
        coded_row("long", 1920, 1, 2, 2, text=text, **values),
    ]
    write_parts(pa.concat_tables(rows), LocalFileSystem(), str(folder))
    return folder


def test_files_of_which_another_track_was_read_are_no_references(tmp_path: Path) -> None:
    source = tmp_path / "film.mkv"
    source.touch()
    write_parts(coded_row("a", 1920, source=str(source), text="x"), LocalFileSystem(), str(tmp_path / "run"))
    record = run_record(settings=load_settings(None, {"input.track": 2}).model_dump(mode="json"))
    save(LocalFileSystem(), str(tmp_path / "run"), record)
    with pytest.raises(InputError, match=r"The run read audio track 2 of its files \(input\.track\)"):
        export_run(tmp_path / "run", "qwen3-tts", tmp_path / "out", text="text")


def test_a_reference_that_is_none(run: Path, tmp_path: Path) -> None:
    (tmp_path / "ref.txt").write_text("no audio")
    with pytest.raises(InputError, match=r"--ref-audio .*ref\.txt"):
        export_run(run, "qwen3-tts", tmp_path / "out", text="text", ref_audio=tmp_path / "ref.txt")
    soundfile.write(tmp_path / "long.wav", np.zeros(61 * 8000), 8000)
    with pytest.raises(InputError, match=r"--ref-audio .*long\.wav: longer than 60 s; some seconds suffice\.$"):
        export_run(run, "qwen3-tts", tmp_path / "out", text="text", ref_audio=tmp_path / "long.wav")
    with pytest.raises(InputError, match="--ref-audio: records of hf have no reference"):
        export_run(run, "hf", tmp_path / "hf", ref_audio=tmp_path / "ref.txt")
    with pytest.raises(InputError, match=r"needs transcripts: name their column with --text.*text, speaker, json"):
        export_run(run, "qwen3-tts", tmp_path / "out", ref_audio=tmp_path / "ref.txt")


@pytest.mark.skipif("QWEN3_TTS" not in os.environ, reason="QWEN3_TTS names no checkout of QwenLM/Qwen3-TTS")
def test_upstreams_own_dataset_and_collate(run: Path, tmp_path: Path, reference: Path) -> None:
    with placeholders():
        from qwen_tts.core.models.configuration_qwen3_tts import Qwen3TTSConfig

    export_run(run, "qwen3-tts", tmp_path / "out", text="text", ref_audio=reference, shard_recordings=2)
    records = lines(tmp_path / "out")
    upstream = importlib.util.spec_from_file_location(
        "upstream", Path(os.environ["QWEN3_TTS"]) / "finetuning" / "dataset.py"
    )
    module = importlib.util.module_from_spec(upstream)
    upstream.loader.exec_module(module)
    dataset = module.TTSDataset(records, processor, Qwen3TTSConfig())
    batch = dataset.collate_fn([dataset[number] for number in range(len(dataset))])
    for number, record in enumerate(records):
        codes = batch["codec_ids"][number][batch["codec_mask"][number]]
        assert np.array_equal(codes.numpy(), CODES[ID_OF[record["text"]]])


def processor(text: str, **options: Any) -> dict[str, torch.Tensor]:
    """The tokenizer's place: its vocabulary is on the hub. A token a byte."""
    return {"input_ids": torch.tensor([list(text.encode())])}


@pytest.mark.parametrize("to", ["qwen3-tts", "ms-swift"])
def test_references_that_are_gone_are_told(
    run: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    given = ["export", run, "--to", to, "--text", "text"]
    assert voxmill(*given, "--out", tmp_path / "own") == 0
    said = r"the files that were read; 5 of them are not there now, the first is /nowhere/.*\.wav: a trainer"
    assert re.search(said, capsys.readouterr().err)
    soundfile.write(tmp_path / "a.wav", np.zeros(24_000), 24_000)
    source = pa.array([str(tmp_path / "a.wav")])
    row = coded_row("a", 24_000, text=pa.array(["hello"]))
    row = row.set_column(row.schema.get_field_index("source"), "source", source)
    write_parts(row, LocalFileSystem(), str(tmp_path / "there"))
    for number, other in enumerate(([*given, "--ref-audio", reference], ["export", tmp_path / "there", *given[2:]])):
        assert voxmill(*other, "--out", tmp_path / str(number)) == 0
        assert "not there now" not in capsys.readouterr().err
