"""`python -m actors.bench`: the engine's benchmark, without Ray. Exits with 1 where a gate failed."""

import argparse
import sys
from pathlib import Path

from actors.bench.run import PLAN, RACE, passed, run_bench, table, teller, writable
from actors.errors import VoxmillError
from actors.terminated import unwinding


def main() -> int:
    """The command line."""
    given = arguments()
    options = {"rounds": given.rounds, "clips": given.clips, "peaks": not given.no_peaks, "steps": given.step}
    try:
        told = teller(writable(Path(given.json)) if given.json else None)
        with unwinding():
            result = run_bench(given.model, given.device, given.precision, given.audio, told=told, **options)
    except VoxmillError as error:
        print(f"voxmill: {error}", file=sys.stderr)
        return 2
    print(table(result))
    return 0 if passed(result) else 1


def arguments() -> argparse.Namespace:
    """What was given."""
    parser = argparse.ArgumentParser(prog="python -m actors.bench", description=__doc__)
    parser.add_argument(
        "--model", default="full-size", help="full-size (seeded random weights), demo, a folder, a hub id"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", action="append", default=[], help="may be repeated; also fp16/graphs, ...")
    parser.add_argument("--audio", help="a folder of audio files; synthetic signals by default")
    parser.add_argument("--json", help="also write the figures to this file, after every step")
    parser.add_argument("--step", action="append", default=[], choices=[*PLAN, RACE], help="may be repeated; all")
    parser.add_argument("--rounds", type=int, default=3, help="beside upstream")
    parser.add_argument("--clips", type=int, default=32, help="beside upstream")
    parser.add_argument("--no-peaks", action="store_true", help="do not measure host memory beside upstream")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
