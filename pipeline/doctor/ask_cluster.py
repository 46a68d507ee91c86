"""`python -m pipeline.doctor.ask_cluster ADDRESS`: join the cluster as a run does, print its resources as JSON."""

import json
import sys

import ray

from pipeline.cluster.session import session
from pipeline.errors import VoxmillError
from pipeline.settings import Settings


def main(address: str) -> None:
    """One line: "resources" and "nodes", or "error"."""
    try:
        with session(Settings(ray_address=address)):
            alive = sum(node["Alive"] for node in ray.nodes())
            found = {"resources": ray.cluster_resources(), "nodes": alive}
    except VoxmillError as error:
        found = {"error": str(error)}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
