"""A read task -> chunk rows: open, decode, resample and cut its recordings one by one, as streams, in a worker."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from actors.pools.arrow import failure
from actors.watchdog import beat
from pipeline.audio.chunk import Chunk, chunk_count, context_of, cut
from pipeline.audio.decode import Audio, count_samples, open_audio
from pipeline.audio.resample import output_length, resample, resample_from, start_before
from pipeline.errors import EmptyAudio, RecordingError, UnexpectedError, UnreadableAudio
from pipeline.schema import CHUNK_SCHEMA
from pipeline.sources.files import InputRecording
from pipeline.sources.formats import recordings
from pipeline.sources.split import shareable
from pipeline.sources.task import Range, ReadTask
from pipeline.storage.stamp import UNKNOWN, same_content, stamp_of
from pipeline.storage.translate import reason


@dataclass(frozen=True)
class Reading:
    """How recordings are read and cut."""

    chunk_samples: int  # at 24 kHz, whole frames
    context_samples: int  # at 24 kHz, whole frames
    allow_truncated: bool
    max_recording_s: float


def read_chunks(
    task: ReadTask,
    how: Reading,
    carried: pa.Schema,
    partial: Mapping[str, frozenset[int]],
    find: Callable[[ReadTask], Iterator[InputRecording]] = recordings,
) -> Iterator[pa.Table]:
    """A read task -> its recordings' chunks, one row each. A recording that cannot be read is one row that says why."""
    schema = pa.unify_schemas([CHUNK_SCHEMA, carried])
    for item in find(task):
        source = Source(item, how)
        try:
            for values in recording_chunks(source, partial.get(item.id, frozenset())):
                yield _row(schema, item.carried | source.known() | values)
        except RecordingError as error:
            yield _row(schema, item.carried | source.known() | failure("read", error))
        except Exception as error:  # one odd recording must not end a run of millions
            unexpected = UnexpectedError(f"{item.name}: {reason(error)}; please report it with the recording")
            yield _row(schema, item.carried | source.known() | failure("read", unexpected))


class Source:
    """A recording that is opened up to three times: what it was the first time, it must be each time."""

    def __init__(self, item: InputRecording, how: Reading) -> None:
        self.item, self.how, self.stamp = item, how, item.stamp

    def known(self) -> dict[str, Any]:
        """Its id and fingerprint, as far as they are known."""
        size, version = self.stamp
        bounds = {"start_s": self.item.start_s or None, "end_s": self.item.end_s}
        return {
            "id": self.item.id,
            "source": self.item.source,
            "source_size": size,
            "source_version": version,
            **bounds,
        }

    @contextlib.contextmanager
    def file(self) -> Iterator[BinaryIO]:
        """The recording's bytes. Raises UnreadableAudio where they are others than before."""
        with self.item.open() as file:
            if self.item.stamp == UNKNOWN:
                seen = stamp_of(file)
                if not same_content(self.stamp, seen):
                    raise UnreadableAudio(f"{self.item.name}: {CHANGED}, from {self.stamp} to {seen}")
                self.stamp = seen
            yield file

    @contextlib.contextmanager
    def audio(self, start_s: float | None = None) -> Iterator[Audio]:
        """The recording's bytes behind its decoder; from `start_s` on where it is given."""
        with (
            self.file() as file,
            open_audio(
                file,
                self.item.name,
                start_s=self.item.start_s if start_s is None else start_s,
                end_s=self.item.end_s,
                allow_truncated=self.how.allow_truncated,
                max_recording_s=self.how.max_recording_s,
            ) as audio,
        ):
            yield dataclasses.replace(audio, blocks=heard(audio.blocks))


CHANGED = "it changed while it was read; keep inputs as they are until the run is complete"


def recording_chunks(source: Source, skip: frozenset[int]) -> Iterator[dict[str, Any]]:
    """Decode, resample and cut one recording; chunks in `skip` are committed already.

    A recording longer than one chunk is decoded twice: first to the end, to learn that it is sound and how many chunks
    it has, so that no chunk of a broken recording ever leaves. Of one that several tasks share, this task's range.
    """
    item, how = source.item, source.how
    if item.range is not None:
        yield from range_chunks(source, item.range, skip)
        return
    with source.audio() as audio:
        first = next(cut_audio(audio, how), None)
        if first is None:
            raise EmptyAudio(f"{item.name}: no samples; expected at least one. Leave it out, or export it again.")
        if first.num_samples < how.chunk_samples:
            yield _chunk_values(first, 1, audio)
            return
    del first
    with source.audio() as audio:
        chunks = chunk_count(output_length(count_samples(audio), audio.rate), how.chunk_samples)
    with source.audio() as audio:
        for chunk in cut_audio(audio, how):
            if chunk.index not in skip:
                yield _chunk_values(chunk, chunks, audio)


def range_chunks(source: Source, part: Range, skip: frozenset[int]) -> Iterator[dict[str, Any]]:
    """Read some chunks of a WAV that several tasks share; its header tells how many it has.

    A sample that is not finite fails the range that holds it; what other ranges gave is dropped when the run settles.
    """
    item, how = source.item, source.how
    wanted = [chunk for chunk in range(part.first_chunk, part.last_chunk + 1) if chunk not in skip]
    if not wanted:
        return
    with source.file() as file:
        wav = shareable(file)
    if wav is None or wav.samples != part.samples:
        seen = "no whole WAV" if wav is None else f"{wav.samples} samples"
        raise UnreadableAudio(f"{item.name}: {CHANGED}, from {part.samples} samples to {seen}")
    chunks = chunk_count(output_length(wav.samples, wav.rate), how.chunk_samples)
    begin = wanted[0] * how.chunk_samples - context_of(wanted[0], how.chunk_samples, how.context_samples)
    start_s = start_before(begin, wav.rate) / wav.rate  # exact: rounded back to the sample
    with source.audio(start_s) as audio:
        blocks = resample_from(audio.blocks, audio.rate, begin)
        for chunk in cut(blocks, how.chunk_samples, how.context_samples, wanted[0]):
            if chunk.index not in skip:
                yield _chunk_values(chunk, chunks, audio)
            if chunk.index == wanted[-1]:
                return


def heard(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """`blocks`, each a sign of life: a recording of a day may be decoded for minutes before its first chunk."""
    for block in blocks:
        beat()
        yield block


def cut_audio(audio: Audio, how: Reading) -> Iterator[Chunk]:
    """Resampled to 24 kHz mono and cut, as a stream."""
    return cut(resample(audio.blocks, audio.rate), how.chunk_samples, how.context_samples)


def _chunk_values(chunk: Chunk, chunks: int, audio: Audio) -> dict[str, Any]:
    return {
        "chunk": chunk.index,
        "chunks": chunks,
        "first_frame": chunk.first_frame,
        "num_samples": chunk.num_samples,
        "context_samples": chunk.context_samples,
        "source_rate": audio.rate,
        "source_channels": audio.channels,
        "audio": pa.LargeListArray.from_arrays(pa.array([0, len(chunk.audio)], pa.int64()), pa.array(chunk.audio)),
    }


def _row(schema: pa.Schema, values: dict[str, Any]) -> pa.Table:
    """One row; what `values` lacks is null."""
    return pa.Table.from_arrays([_cell(values.get(field.name), field.type) for field in schema], schema=schema)


def _cell(value: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(value, pa.Scalar):  # pa.array trips over lists that are null
        return pa.repeat(value, 1) if value.is_valid else pa.nulls(1, kind)
    return value if isinstance(value, pa.Array) else pa.array([value], kind)
