"""A read task -> chunk rows: open, decode, resample and cut its recordings, file by file, as streams, in a worker."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import pyarrow as pa

from actors.pools.arrow import failure
from actors.watchdog import beat
from pipeline.audio.chunk import Chunk, chunk_count, context_of, cut
from pipeline.audio.cut_views import Wanted, cut_views
from pipeline.audio.decode import Audio, OpenFile, open_audio, open_file
from pipeline.audio.length import ANY, Lengths
from pipeline.audio.resample import output_length, resample_from, start_before
from pipeline.audio.speech import stretches_of
from pipeline.audio.views import Piece, View
from pipeline.errors import (
    EmptyAudio,
    NoSpeech,
    OtherStretches,
    RecordingError,
    Skipped,
    UnexpectedError,
    UnreadableAudio,
)
from pipeline.schema import CHUNK_SCHEMA, EACH, SKIP, channel_id, spoken_ids, stretch_id
from pipeline.sources.formats import files
from pipeline.sources.split import shareable
from pipeline.sources.task import InputRecording, Range, ReadTask
from pipeline.storage.stamp import UNKNOWN, same_content, stamp_of
from pipeline.storage.translate import reason


@dataclass(frozen=True)
class Reading:
    """How recordings are read and cut."""

    chunk_samples: int  # at 24 kHz, whole frames
    context_samples: int  # at 24 kHz, whole frames
    allow_truncated: bool
    max_recording_s: float
    track: int | None = None  # of a container with several audio tracks, from 1; None: the default one
    wanted: Lengths = ANY  # recordings of other lengths are skipped

    @property
    def rules(self) -> dict[str, Any]:
        """The arguments of `open_file`."""
        chosen = {name: getattr(self, name) for name in ("allow_truncated", "max_recording_s", "track")}
        return {**chosen, "beat": beat}


KEEP_BYTES = 128 << 20
"""Of decoded samples, so that the second pass over a file whose speech was looked for need not decode it again: 35
minutes of mono at 16 kHz."""


Rows = Iterator[tuple[InputRecording, dict[str, Any]]]
"""A recording, and the columns of a row of it but those that are carried."""


def read_chunks(
    task: ReadTask,
    how: Reading,
    carried: pa.Schema,
    partial: Mapping[str, frozenset[int]],
    find: Callable[[ReadTask], Iterator[list[InputRecording]]] = files,
) -> Iterator[pa.Table]:
    """A read task -> its recordings' chunks, one row each. A recording that cannot be read is one row that says why.

    Chunks in `partial`, by the recording's id, are committed already.
    """
    schema = pa.unify_schemas([CHUNK_SCHEMA, carried])
    done = frozenset(task.done.to_pylist() if task.vad or EACH in (task.channel, *_channels(task)) else ())
    spoken = _stretches(task.done) if task.vad else None
    for items in find(task):
        file = SourceFile(items, how, done, partial, spoken)
        for item, values in file.rows():
            yield _row(schema, item.carried | values)


def _channels(task: ReadTask) -> set[int | None]:
    return set() if task.listed else set(task.units["@channel"].unique().to_pylist())


def _stretches(done: pa.Array) -> dict[str, set[str]]:
    """Of the ids `done` those of stretches of speech, by the id of what they are stretches of."""
    found: dict[str, set[str]] = {}
    for own, id_ in zip(spoken_ids(done).to_pylist(), done.to_pylist(), strict=True):
        if own != id_:
            found.setdefault(own, set()).add(id_)
    return found


class SourceFile:
    """A file that is opened once, or again where its recordings are too long: what it was, it must be each time.

    `items` are the recordings in it. Of those of which each channel is one, the channels in `done` are left out. With
    `spoken`, the stretches of speech in these are the recordings, but for those in `done`; it holds the committed ones,
    by the id of what they are stretches of.
    """

    def __init__(
        self,
        items: list[InputRecording],
        how: Reading,
        done: frozenset[str] = frozenset(),
        partial: Mapping[str, frozenset[int]] | None = None,
        spoken: Mapping[str, set[str]] | None = None,
    ) -> None:
        self.item, self.how, self.done, self.stamp = items[0], how, done, items[0].stamp
        self.left = {item.id: item for item in items}  # until its last row
        self.channels: int | None = None  # of the file, once it is open
        self.spoken = spoken  # None, too, once the stretches are found
        self.stretches: dict[str, int] = {}  # how many there are beside a stretch, itself too
        self.skip = {} if partial is None else dict(partial)  # chunks that are committed, or came
        self.chunks: dict[str, int] = {}  # how many the recordings have whose chunks did not all come

    def rows(self) -> Rows:
        """The chunks of all recordings, and of those that fail a row that says why."""
        try:
            if self.spoken is None:
                yield from self._outside()
            if self.item.range is not None:
                for chunk, chunks, audio in range_chunks(self, self.item.range):
                    yield self._chunk(self.item, chunk, chunks, audio.rate, audio.channels)
                return
            while self.left:
                keep = 0 if self.spoken is None else KEEP_BYTES
                with self.file() as file, open_file(file, self.item.name, keep=keep, **self.how.rules) as opened:
                    self.channels = opened.channels
                    self.left = dict(self._each_channel(opened.channels))
                    yield from self._speech(opened)
                    yield from self._pass(opened)
        except RecordingError as error:
            yield from self._fail(error)
        except Exception as error:  # one odd recording must not end a run of millions
            what = f"{self.item.name}: {reason(error)}; please report it with the recording"
            yield from self._fail(UnexpectedError(what))

    def _each_channel(self, channels: int) -> Iterator[tuple[str, InputRecording]]:
        """What is left, by its ids; in the place of a file of which each channel is a recording, these."""
        for id_, item in self.left.items():
            apart = range(1, channels + 1) if item.channel == EACH else []
            for name, channel in ((channel_id(id_, channel), channel) for channel in apart):
                if name not in self.done:
                    yield name, replace(item, id=name, channel=channel)
            if item.channel != EACH:
                yield id_, item

    def _speech(self, opened: OpenFile) -> Rows:
        """Put the stretches of speech in the place of what is left. Rows of what has none, or cannot be heard."""
        if self.spoken is None:
            return
        spoken, items, self.spoken = self.spoken, list(self.left.values()), None
        for number, stretches, error in stretches_of(opened, [item.channel for item in items]):
            item, name = items[number], self.item.name
            del self.left[item.id]
            found = {stretch_id(item.id, *bounds): bounds for bounds in stretches}
            lost = sorted(spoken.get(item.id, set()) - found.keys())
            if error is None and lost:
                error = OtherStretches(
                    f"{name}: {len(lost)} stretches of it are committed that are not found now, first {lost[0]!r}."
                    " Finish the run on machines of the kind that began it, or give --out a new folder."
                )
            elif error is None and not found:
                error = NoSpeech(f"{name}: no speech is found in it. Set input.vad=none to tokenize all of it.")
            if error is not None:
                yield self._failed(item, error)
                continue
            for id_, (start_s, end_s) in found.items():
                if id_ not in self.done:
                    self.left[id_] = replace(item, id=id_, start_s=start_s, end_s=end_s)
                    self.stretches[id_] = len(found)

    def _outside(self) -> Rows:
        """Rows of the segments whose bounds already say that their lengths are not wanted."""
        for item in list(self.left.values()):
            try:
                if item.end_s is not None and item.end_s > item.start_s:
                    self.how.wanted.check(item.end_s - item.start_s, item.name)
            except Skipped as error:
                del self.left[item.id]
                yield self._failed(item, error)

    def _of_wanted_lengths(self, opened: OpenFile) -> OpenFile:
        def read(views: Sequence[View]) -> Iterator[Piece]:
            pieces, rate = opened.read(views), opened.rate
            return self.how.wanted.checked(
                pieces, len(views), lambda number: opened.length(views[number]), rate, self.item.name
            )

        return replace(opened, read=read)

    def _pass(self, opened: OpenFile) -> Rows:
        """Read all that is left once. What is still left then is too long for its chunks to wait, and counted now."""
        items, none = list(self.left.values()), frozenset[int]()
        views = [View(item.start_s, item.end_s, item.channel) for item in items]
        opened = self._of_wanted_lengths(opened)
        wanted = [
            Wanted(view, self.skip.get(item.id, none), self.chunks.get(item.id))
            for item, view in zip(items, views, strict=True)
        ]
        for number, chunk, chunks, error in cut_views(opened, wanted, self.how.chunk_samples, self.how.context_samples):
            item = items[number]
            if error is None and chunks == 0:
                error = EmptyAudio(f"{item.name}: no samples; expected at least one. Leave it out, or export it again.")
            if error is not None:
                del self.left[item.id]
                yield self._failed(item, error)
            elif chunk is not None and chunks is not None:
                self.skip[item.id] = self.skip.get(item.id, none) | {chunk.index}
                yield self._chunk(item, chunk, chunks, opened.rate, opened.channels)
            elif chunks is not None and len(self.skip.get(item.id, none)) >= chunks:
                del self.left[item.id]
            elif chunks is not None:
                self.chunks[item.id] = chunks

    def _chunk(
        self, item: InputRecording, chunk: Chunk, chunks: int, rate: int, channels: int
    ) -> tuple[InputRecording, dict[str, Any]]:
        return item, {
            **self.known(item),
            "chunk": chunk.index,
            "chunks": chunks,
            "first_frame": chunk.first_frame,
            "num_samples": chunk.num_samples,
            "context_samples": chunk.context_samples,
            "source_rate": rate,
            "source_channels": channels,
            "audio": pa.LargeListArray.from_arrays(pa.array([0, len(chunk.audio)], pa.int64()), pa.array(chunk.audio)),
        }

    def _fail(self, error: RecordingError) -> Rows:
        """A row of everything that is left."""
        for item in self.left.values():
            yield self._failed(item, error)

    def _failed(self, item: InputRecording, error: RecordingError) -> tuple[InputRecording, dict[str, Any]]:
        why = failure(SKIP if isinstance(error, Skipped) else "read", error)
        return item, {**self.known(item), "source_channels": self.channels, **why}

    def known(self, item: InputRecording) -> dict[str, Any]:
        """Id and fingerprint of a recording, as far as they are known."""
        size, version = self.stamp
        return {
            "id": item.id,
            "source": item.source,
            "source_size": size,
            "source_version": version,
            "start_s": item.start_s or None,
            "end_s": item.end_s,
            "channel": item.channel,
            "stretches": self.stretches.get(item.id),
        }

    @contextlib.contextmanager
    def file(self) -> Iterator[BinaryIO]:
        """The file's bytes. Raises UnreadableAudio where they are others than before."""
        with self.item.open() as file:
            if self.item.stamp == UNKNOWN:
                seen = stamp_of(file)
                if not same_content(self.stamp, seen):
                    raise UnreadableAudio(f"{self.item.name}: {CHANGED}, from {self.stamp} to {seen}")
                self.stamp = seen
            yield file


CHANGED = "it changed while it was read; keep inputs as they are until the run is complete"


def range_chunks(source: SourceFile, part: Range) -> Iterator[tuple[Chunk, int, Audio]]:
    """Some chunks of a WAV that several tasks share, and how many it has, which its header tells.

    A sample that is not finite fails the range that holds it; what other ranges gave is dropped when the run settles.
    """
    item, how, skip = source.item, source.how, source.skip.get(source.item.id, ())
    wanted = [chunk for chunk in range(part.first_chunk, part.last_chunk + 1) if chunk not in skip]
    if not wanted:
        return
    with source.file() as file:
        wav = shareable(file)
    if wav is None or wav.samples != part.samples:
        seen = "no whole WAV" if wav is None else f"{wav.samples} samples"
        raise UnreadableAudio(f"{item.name}: {CHANGED}, from {part.samples} samples to {seen}")
    how.wanted.check(wav.samples / wav.rate, item.name)
    chunks = chunk_count(output_length(wav.samples, wav.rate), how.chunk_samples)
    begin = wanted[0] * how.chunk_samples - context_of(wanted[0], how.chunk_samples, how.context_samples)
    start_s = start_before(begin, wav.rate) / wav.rate  # exact: rounded back to the sample
    with (
        source.file() as file,
        open_audio(file, item.name, start_s=start_s, channel=item.channel, **how.rules) as audio,
    ):
        blocks = resample_from(audio.blocks, audio.rate, begin)
        for chunk in cut(blocks, how.chunk_samples, how.context_samples, wanted[0]):
            if chunk.index not in skip:
                yield chunk, chunks, audio
            if chunk.index == wanted[-1]:
                return


def _row(schema: pa.Schema, values: dict[str, Any]) -> pa.Table:
    """One row; what `values` lacks is null."""
    return pa.Table.from_arrays([_cell(values.get(field.name), field.type) for field in schema], schema=schema)


def _cell(value: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(value, pa.Scalar):  # pa.array trips over lists that are null
        return pa.repeat(value, 1) if value.is_valid else pa.nulls(1, kind)
    return value if isinstance(value, pa.Array) else pa.array([value], kind)
