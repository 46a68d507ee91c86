"""The recordings of one file -> their rows: open, decode, resample and cut them in one pass, as streams."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from actors.pools.arrow import failure
from pipeline.audio.chunk import Chunk
from pipeline.audio.cut_views import Wanted, cut_views
from pipeline.audio.decode import OpenFile, open_file
from pipeline.audio.length import ANY
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
from pipeline.read.reading import Reading
from pipeline.read.shared_wav import changed, shared_chunks
from pipeline.schema import EACH, SKIP, channel_id, stretch_id
from pipeline.sources.task import InputRecording
from pipeline.storage.stamp import UNKNOWN, same_content, stamp_of, told
from pipeline.storage.translate import reason

KEEP_BYTES = 128 << 20
"""Of decoded samples, so that the second pass over a file whose speech was looked for need not decode it again: 35
minutes of mono at 16 kHz."""

Rows = Iterator[tuple[InputRecording, dict[str, Any]]]
"""A recording, and the columns of a row of it but those that are carried."""


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
                skip = self.skip.get(self.item.id, frozenset())
                for chunk, chunks, audio in shared_chunks(self.item, self.item.range, self.how, skip, self.file):
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
        if self.how.wanted == ANY:
            return opened

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
            "audio": chunk.audio,
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
                    raise UnreadableAudio(f"{self.item.name}: {changed(told(self.stamp), told(seen))}")
                self.stamp = seen
            yield file
