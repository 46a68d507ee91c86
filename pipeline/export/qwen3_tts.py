"""Qwen3-TTS fine-tuning: train.jsonl, a line a recording, as finetuning/prepare_data.py of QwenLM/Qwen3-TTS writes it.

audio, text, ref_audio, audio_codes [[16 ints] x F]; language, speaker, instruct where the run has them. Upstream's
`TTSDataset` (finetuning/dataset.py) reads `item["audio_codes"]` as a long tensor [F, 16], the text, and `ref_audio`
with librosa at its own rate, which must be 24000 Hz; `audio` is not opened. Its collate function joins the mel
spectrograms of a batch's references with `torch.cat(ref_mels, dim=0)`: references of different lengths break it, so
give all records one, with --ref-audio.
"""

import shutil
from typing import BinaryIO

from pipeline.export.json_line import json_line
from pipeline.export.records import Record
from pipeline.export.shard import Finished, Format, Shard

OPTIONAL = ("language", "speaker", "instruct")
FILE = "train.jsonl"


def _write(shard: Shard) -> None:
    def fill(file: BinaryIO) -> None:
        for record in shard.records():
            file.write((_line(record, shard.reference) + "\n").encode())

    shard.create(shard.files[0], fill)


def _line(record: Record, reference: str | None) -> str:
    source = record.row["source"]
    more = {name: record.texts[name] for name in OPTIONAL if name in record.texts}
    named = {"audio": source, "text": record.texts["text"], "ref_audio": reference or source, **more}
    return json_line({**named, "audio_codes": record.codes.tolist()})


def _finish(finished: Finished) -> None:
    """Upstream reads one file."""

    def fill(file: BinaryIO) -> None:
        for name in finished.names:
            with finished.read(name) as shard:
                shutil.copyfileobj(shard, file, 1 << 20)

    finished.create(FILE, fill)


def _files(number: int, shards: int) -> list[str]:
    return [f"train-{number:06d}.jsonl"]


FORMAT = Format(_write, _files, finish=_finish, result=FILE, joined=True, needs_text=True, shares_reference=True)
