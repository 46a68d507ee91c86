"""A read task -> its recordings, those of one file together, also where one ends the process: only that one fails.

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
from pipeline.sources.formats import recordings, together
from pipeline.sources.members import broken, fail
from pipeline.sources.task import InputRecording, ReadTask, containers

ADVICE = "Look at it with other tools, or leave it out; `voxmill retry RUN --error KillsItsReader` reads it again."


def isolated(task: ReadTask, name: str, attempts: Attempts) -> Iterator[list[InputRecording]]:
    """As `formats.files`; `name` is the task's own. A recording that was alone in hand when its readers ended is one
    whose open raises KillsItsReader; where finding the next member ended them, the container fails as a whole."""
    if not attempts.begin(name):
        yield from together(task, recordings(task))
    else:
        task = replace(task, ahead=False)  # else a file is in hand before anybody is told of it
        for part in _containers(task):
            yield from _one_by_one(part, f"{name} {part.units['@id'][0]}", attempts)
    attempts.end(name)


def _containers(task: ReadTask) -> Iterator[ReadTask]:
    """`task` in pieces of one container each: one that cannot be passed ends only its own piece."""
    if task.kind == "files" or task.limit is not None:  # a limit is of all its containers together
        yield task
        return
    row = 0
    for container in containers(task):
        rows = len(container.row_groups or [None])
        yield replace(task, units=task.units.slice(row, rows))
        row += rows


def _one_by_one(task: ReadTask, name: str, attempts: Attempts) -> Iterator[list[InputRecording]]:
    """The recordings, each told of; those of one file together, until a reader died over that file. One that is given
    up stays in `attempts`: the next reader must know of it."""
    number = itertools.count()
    for items in together(task, _found(task, name, attempts)):
        numbered = [(f"{name} {next(number)} {item.id}", item) for item in items]
        key = f"{numbered[0][0]} and {len(items)}"
        if len(items) == 1:
            yield from _alone(numbered, attempts)
            continue
        if not attempts.begin(key):
            yield items
        else:
            yield from _alone(numbered, attempts)
        attempts.end(key)


def _alone(items: list[tuple[str, InputRecording]], attempts: Attempts) -> Iterator[list[InputRecording]]:
    for key, item in items:
        why = given_up(attempts.begin(key))
        if why is None:
            yield [item]
            attempts.end(key)
        else:
            yield [replace(item, open=partial(fail, KillsItsReader(f"{item.name}: {why}. {ADVICE}")))]


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
        if container.failure_id not in task.done.to_pylist():
            yield broken(container, KillsItsReader(f"{container.source}: {why}. {ADVICE}"))
