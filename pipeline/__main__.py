"""`python -m pipeline`: the command `voxmill` of the code that is here, where another one or none is installed."""

from pipeline.cli.main import main

main()
