"""An agent that starts with its first request: its port is told at once, and that request is answered."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cluster import idle_agent

AGENT = """
import argparse, socket
parser = argparse.ArgumentParser()
for name in ("node-id", "node-ip-address", "session-dir"):
    parser.add_argument("--" + name)
parser.add_argument("--runtime-env-agent-port", type=int)
given = parser.parse_args()
((family, _, _, _, address),) = socket.getaddrinfo(  # as asyncio binds
    given.node_ip_address, given.runtime_env_agent_port, type=socket.SOCK_STREAM
)
server = socket.socket(family)
server.bind(address)
server.listen()
client, _ = server.accept()
client.sendall(client.recv(100) + b" is answered")
"""


@pytest.fixture(params=["127.0.0.1", "::1"])
def waiting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The address of an AGENT that is not started yet, but waits for a request."""
    try:
        socket.create_server(
            (request.param, 0), family=socket.AF_INET6 if ":" in request.param else socket.AF_INET
        ).close()
    except OSError as error:
        pytest.skip(f"this machine has no {request.param}: {error}")
    (tmp_path / "main.py").write_text(AGENT)
    options = {"node-id": "7", "node-ip-address": request.param, "runtime-env-agent-port": 0, "session-dir": tmp_path}
    command = [sys.executable, "-u", str(tmp_path / "main.py"), *(f"--{key}={value}" for key, value in options.items())]
    replaced = [sys.executable, "-S", idle_agent.__file__, idle_agent.UNTIL_ASKED, *command]
    with subprocess.Popen(replaced) as process:
        file = tmp_path / "runtime_env_agent_port_7"
        while not file.exists() and process.poll() is None:
            time.sleep(0.01)
        yield request.param, int(file.read_text())
        process.kill()


def test_the_first_request_is_answered(waiting: tuple[str, int]) -> None:
    with socket.create_connection(waiting, timeout=20) as client:
        client.sendall(b"this")
        assert client.recv(100) == b"this is answered"
