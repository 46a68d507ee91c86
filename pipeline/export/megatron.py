"""Megatron-LM's indexed dataset: codes-000000.bin and .idx, one document a recording; give all prefixes to --data-path.

Tokens are uint16, frame by frame, code + 2048 * codebook: vocabulary 32768. No end-of-document token is added; 32768 is
the first one that is free for it. The .idx is, little endian: "MMIDIDX\\0\\0"; uint64 version 1; uint8 8 (uint16);
uint64 sequences; uint64 documents + 1; int32 tokens of each sequence; int64 byte at which each begins; int64 sequence
at which each document begins, and their end (megatron/core/datasets/indexed_dataset.py).
"""

import struct
from typing import BinaryIO

import numpy as np

from pipeline.export.shard import Format, Shard
from pipeline.run.token_layouts import interleave

_UINT16 = 8


def _write(shard: Shard) -> None:
    lengths: list[int] = []

    def fill(file: BinaryIO) -> None:
        for record in shard.records():
            document = interleave(record.codes).astype("<u2")
            file.write(document.tobytes())
            lengths.append(len(document))

    tokens, index = shard.files
    shard.create(tokens, fill)
    shard.create(index, lambda file: file.write(_index(lengths)))


def _files(number: int, shards: int) -> list[str]:
    return [f"codes-{number:06d}.bin", f"codes-{number:06d}.idx"]


def _index(lengths: list[int]) -> bytes:
    sizes = np.array(lengths, "<i4")
    begins = 2 * (np.cumsum(sizes, dtype="<i8") - sizes)
    head = struct.pack("<9sQBQQ", b"MMIDIDX", 1, _UINT16, len(sizes), len(sizes) + 1)
    return head + sizes.tobytes() + begins.astype("<i8").tobytes() + np.arange(len(sizes) + 1, dtype="<i8").tobytes()


FORMAT = Format(_write, _files)
