"""`python -m actors.bench`: the engine's benchmark, without Ray."""

from actors.bench.run import main

main()
