"""Run by the raylet of a local Ray in place of an agent of its own: ends when the raylet has.

It does nothing; or, with UNTIL_ASKED and the command of the agent of runtime environments, it starts that one with the
first request. A local run makes none, and the agent takes 0.7 s to import, for which the raylet and `ray.init` wait.
"""

import os
import sys
import time

CHECK_S = 0.5
UNTIL_ASKED = "--until-asked"


def sleep_until_the_end(raylet: int) -> None:
    """As long as the raylet lives."""
    while os.getppid() == raylet:
        time.sleep(CHECK_S)


def start_when_asked(raylet: int, script: str, arguments: list[str]) -> None:
    """Listen in the agent's place; run it, in this process and at this port, when the first request waits there."""
    import select
    import socket

    given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    here = given["node-ip-address"]
    family = socket.AF_INET6 if ":" in here else socket.AF_INET
    server = socket.create_server((here, int(given["runtime-env-agent-port"])), family=family)
    address = server.getsockname()
    port_file = f"{given['session-dir']}/runtime_env_agent_port_{given['node-id']}"  # as Ray's persist_port names it
    with open(f"{port_file}.new", "w") as file:
        file.write(str(address[1]))
    os.rename(f"{port_file}.new", port_file)  # the raylet waits for it
    while not select.select([server], [], [], CHECK_S)[0]:
        if os.getppid() != raylet:
            return
    bind = socket.socket.bind

    def take_over(made: socket.socket, wanted: object) -> None:  # the request stays in the queue of `server`
        os.dup2(server.fileno(), made.fileno()) if wanted == address else bind(made, wanted)  # type: ignore[arg-type]

    import runpy
    import site

    socket.socket.bind = take_over  # type: ignore[method-assign, assignment]
    site.main()  # Python was started without, which is faster
    sys.argv = [script, *arguments, f"--runtime-env-agent-port={address[1]}"]
    sys.path[0] = os.path.dirname(script)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    parent, words = os.getppid(), sys.argv[1:]
    if words[:1] == [UNTIL_ASKED]:
        first = next(index for index, word in enumerate(words) if word.endswith(".py"))
        start_when_asked(parent, words[first], words[first + 1 :])
    else:
        sleep_until_the_end(parent)
