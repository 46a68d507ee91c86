"""A read task -> its recordings, also where one of them ends the process: only that one fails.

Ray gives the task of a dead reader to another one, again and again. The first reader of a task tells `Attempts` only
that it begins. Where one died over the task, those that follow tell of each recording: a call of 1 to 5 ms, too much
for every recording of a corpus, and little beside a death.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from actors.pools.isolate import Attempts, given_up
from pipeline.errors import KillsItsReader
from pipeline.sources.formats import recordings
from pipeline.sources.members import fail
from pipeline.sources.task import InputRecording, ReadTask, containers

ADVICE = "Look at it with other tools, or leave it out; `voxmill retry RUN --error KillsItsReader` reads it again."


def isolated(task: ReadTask, name: str, attempts: Attempts) -> Iterator[InputRecording]:
    """As `formats.recordings`; `name` is the task's own. A recording that was alone in hand when its readers ended is
    one whose open raises KillsItsReader; where finding the next member ended them, the container fails as a whole."""
    if not attempts.begin(name):
        yield from recordings(task)
    else:
        for part in _containers(task):
            yield from _one_by_one(part, f"{name} {part.units['@id'][0]}", attempts)
    attempts.end(name)


def _containers(task: ReadTask) -> Iterator[ReadTask]:
    """`task` in pieces of one container each: one that cannot be passed ends only its own piece."""
    if task.kind == "files":
        yield task
        return
    row = 0
    for container in containers(task):
        rows = len(container.row_groups or [None])
        yield replace(task, units=task.units.slice(row, rows))
        row += rows


def _one_by_one(task: ReadTask, name: str, attempts: Attempts) -> Iterator[InputRecording]:
    """The recordings, each told of. One that is given up stays in `attempts`: the next reader must know of it."""
    for number, item in enumerate(_found(task, name, attempts)):
        key = f"{name} {number} {item.id}"
        why = given_up(attempts.begin(key))
        if why is None:
            yield item
            attempts.end(key)
        else:
            yield replace(item, open=partial(fail, KillsItsReader(f"{item.name}: {why}. {ADVICE}")))


def _found(task: ReadTask, name: str, attempts: Attempts) -> Iterator[InputRecording]:
    """The recordings; of a container, each step to the next one is told of, for it runs a library over its bytes."""
    items = recordings(task)
    if task.kind == "files":
        yield from items
        return
    for number in itertools.count():
        step = f"{name} before {number}"
        why = given_up(attempts.begin(step))
        if why is not None:
            yield from _whole(task, why)
            return
        item = next(items, None)
        attempts.end(step)
        if item is None:
            return
        yield item


def _whole(task: ReadTask, why: str) -> Iterator[InputRecording]:
    """The failure of a container, unless it is committed."""
    for container in containers(task):
        first = (container.row_groups or [0])[0]
        own_id = f"{container.id}#row-group-{first}" if first else container.id
        if own_id not in task.done.to_pylist():
            error = KillsItsReader(f"{container.source}: {why}. {ADVICE}")
            yield InputRecording(own_id, container.source, container.id, container.nulls(), partial(fail, error))
