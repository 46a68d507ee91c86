"""The dashboard asks for metrics that a run has. That a run really exposes them: tests/cluster/test_job_submit.py."""

import json
import re
from pathlib import Path

from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES
from ray.util.metrics import Counter, Metric

from pipeline.cluster.metrics import Metrics

BOARD = Path(__file__).parents[2] / "configs" / "grafana.json"


def asked(start: str = "ray_voxmill_") -> dict[str, set[str]]:
    """The names with this `start` in the dashboard's expressions -> the tags that they are grouped by."""
    found: dict[str, set[str]] = {}
    for panel in json.loads(BOARD.read_text())["panels"]:
        for target in panel["targets"]:
            tags = {tag for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for tag in group.split(", ")}
            for name in re.findall(rf"\b{start}\w+", target["expr"]):
                found.setdefault(name, set()).update(tags)
    return found


def test_the_dashboard_shows_all_metrics_and_no_others() -> None:
    ours = [metric for metric in vars(Metrics("encode")).values() if isinstance(metric, Metric)]
    names = {f"ray_{one.info['name']}{'_total' * isinstance(one, Counter)}": set(one.info["tag_keys"]) for one in ours}
    assert asked().keys() == names.keys()
    assert all(tags <= names[name] for name, tags in asked().items())


def test_what_ray_tells_of_gpus_has_the_names_that_ray_gives_it() -> None:
    found = asked("ray_node_")
    assert set(found) == {"ray_node_gpus_utilization", "ray_node_gram_used"}
    for name, tags in found.items():
        assert tags <= set(METRICS_GAUGES[name.removeprefix("ray_")].view.columns)
    assert asked("ray_").keys() == asked().keys() | found.keys()


def test_panels_do_not_lie_on_each_other() -> None:
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in json.loads(BOARD.read_text())["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
