"""When a graph counts as waiting for GPUs that are gone."""

import time
from types import SimpleNamespace

import pytest
import ray

from pipeline.cluster.lost_actors import LOST_S, NoticeLostActors
from pipeline.errors import LostActors


def graph(still_s: float, *pools: tuple[int, int, float | None], pending: int = 0) -> SimpleNamespace:
    """An executor where nothing moved for `still_s`, with pools: actors, those of them that restart, GPUs of each.
    `pending` others of each have not started yet."""
    operators = [
        SimpleNamespace(
            num_running_actors=lambda actors=actors: actors,
            num_restarting_actors=lambda lost=lost: lost,
            num_pending_actors=lambda pending=pending: pending,
            per_actor_resource_usage=lambda gpus=gpus: SimpleNamespace(gpu=gpus),
        )
        for actors, lost, gpus in pools
    ]
    return SimpleNamespace(
        _no_progress_guard=SimpleNamespace(_last_progress_time=time.monotonic() - still_s),
        _topology=[SimpleNamespace(get_autoscaling_actor_pools=lambda one=one: [one]) for one in operators],
    )


LONG = LOST_S + 1


@pytest.mark.parametrize(
    ("gpus", "still_s", "pools", "says"),
    [
        (1.0, LONG, [(2, 1, 1.0)], "1 of 2 actors"),
        (7.0, LONG, [(8, 1, 0.5), (8, 1, 0.5)], "2 of 16 actors"),
        (7.0, LOST_S - 5, [(8, 1, 0.5), (8, 1, 0.5)], None),  # another node may come
        (7.0, LONG, [(8, 0, 0.5), (8, 0, 0.5)], None),  # what is slow is something else
        (8.0, LONG, [(8, 1, 0.5), (8, 1, 0.5)], None),  # one has come, and the actor loads its model
        (0.0, LONG, [(2, 2, 1.0)], None),  # nothing is left to go on with
        (1.0, LONG, [(2, 1, 1.0), (2, 1, 1.0)], None),  # not enough for one of each pool
        (0.0, LONG, [(2, 1, None)], None),  # on CPUs an actor fits anywhere
    ],
)
def test_actors_without_gpus(
    gpus: float,
    still_s: float,
    pools: list[tuple[int, int, float | None]],
    says: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executor, notice = graph(still_s, *pools), NoticeLostActors()
    notice.on_execution_step(executor)  # the loss is new, whenever something moved last
    if notice.lost_since:
        notice.lost_since -= LONG
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": gpus})
    if says is None:
        notice.on_execution_step(executor)
    else:
        with pytest.raises(LostActors, match=f"^{says} lost their GPUs, and nothing moved for 120 s"):
            notice.on_execution_step(executor)


@pytest.mark.parametrize(
    ("actors", "lost", "pending", "waiting"),
    [(0, 0, 2, 2), (2, 2, 1, 3), (2, 0, 2, None), (2, 0, 0, None)],  # of the last two, those that are there are slow
)
def test_a_run_that_stands_still_says_so_once(
    actors: int,
    lost: int,
    pending: int,
    waiting: int | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    notice = NoticeLostActors()
    notice.on_execution_step(graph(LOST_S - 5, (actors, lost, 1.0), pending=pending))
    assert capsys.readouterr().err == ""
    executor = graph(LONG, (actors, lost, 1.0), pending=pending)
    for _ in range(3):
        notice.lost_since = notice.lost_since and notice.lost_since - LONG
        notice.on_execution_step(executor)
    said = capsys.readouterr().err
    if waiting is None:
        assert said == ""
    else:
        assert said.startswith(f"voxmill: nothing moved for 120 s, and {waiting} actors did not start: there is no GPU")
        assert said.count("\n") == 1
    notice.lost_since = time.monotonic() - LONG
    notice.on_execution_step(graph(2 * LONG, (2, 2, 1.0), pending=pending))  # it moved, and stands still again
    assert capsys.readouterr().err.count("nothing moved") == 1
