"""ms-swift's Qwen3-TTS fine-tuning: Parquet as its examples/models/qwen3_tts/prepare_data.py writes it.

messages list<struct{role: "assistant", content: the text}>, audios and ref_audios list<string> of one, audio_codes
list<list<int64>> [F, 16]. Its `Qwen3TTSTemplate` (swift/template/templates/qwen.py) takes the last message's content,
`audio_codes` as a long tensor and the first of `ref_audios`, which it resamples to 24 kHz itself; `audios` is not
opened where there are codes. Its collator joins the references' mel spectrograms of a batch with `torch.cat(dim=0)`,
as upstream's: references of different lengths break it, so give all records one, with --ref-audio.
"""

import numpy as np
import pyarrow as pa

from actors.contract import NUM_CODEBOOKS
from pipeline.export.parquet import write_parquet
from pipeline.export.records import text_column
from pipeline.export.shard import Format, Shard

SCHEMA = pa.schema(
    [
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("audios", pa.list_(pa.string())),
        ("ref_audios", pa.list_(pa.string())),
        ("audio_codes", pa.list_(pa.list_(pa.int64()))),
    ]
)


def _write(shard: Shard) -> None:
    def table_of(rows: pa.Table) -> pa.Table:
        text, source = text_column(rows, shard.columns.text), rows["source"].combine_chunks()
        roles = pa.array(["assistant"] * len(rows), pa.string())
        shared = pa.array([shard.reference] * len(rows), pa.string())
        columns = [
            _lists_of_one(pa.StructArray.from_arrays([roles, text], ["role", "content"])),
            _lists_of_one(source),
            _lists_of_one(source if shard.reference is None else shared),
            _lists_of_lists(rows["codes"].combine_chunks()),
        ]
        return pa.Table.from_arrays(columns, SCHEMA.names)

    write_parquet(shard, SCHEMA, table_of)


def _lists_of_one(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1, dtype=np.int32)), values)


def _lists_of_lists(codes: pa.ListArray) -> pa.ListArray:
    """list<fixed_size_list<int16>[16]> -> list<list<int64>>."""
    flat = codes.flatten().flatten().cast(pa.int64())
    frames = pa.array(np.arange(0, len(flat) + 1, NUM_CODEBOOKS, dtype=np.int32))
    ends = np.cumsum([0, *codes.value_lengths().to_pylist()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.ListArray.from_arrays(frames, flat))


def _files(number: int, shards: int) -> list[str]:
    return [f"train-{number:05d}-of-{shards:05d}.parquet"]


FORMAT = Format(_write, _files, needs_text=True, shares_reference=True)
