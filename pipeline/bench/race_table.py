"""Figures of `pipeline.bench.race` -> a heading, a Markdown table, and what went wrong."""

from typing import Any

from actors.bench.markdown import rows_of

NAMES = {
    "lists": "upstream, lists of 32 (its recipe)",
    "clips": "upstream, clip by clip",
    "threads": "upstream, clip by clip in threads",
    "ray": "Ray Data by its documentation, batches of 8",
    "voxmill": "voxmill",
}
TITLES = [
    *("files to codes", "x real time", "to clip by clip", "without start-up", "start-up", "peak memory", "cores busy"),
    *("lost", "equal codes"),
]


def race_table(result: dict[str, Any]) -> str:
    """Speeds are medians over the rounds, with the slowest and the fastest behind them."""
    corpus, machine = result["corpus"], result["machine"]
    head = (
        f"{corpus['recordings']} recordings, {corpus['seconds'] / 60:.1f} min, speech: {result['speech']}; model: "
        f"{result['model']}, {result['precision']}; {machine['threads']} threads, {machine.get('gpu', machine['cpu'])};"
        f" {result['rounds']} rounds, {result['date']}"
    )
    peers = result["peers"]
    base = peers.get("clips", {}).get("times_real")
    rows = [_row(name, one, base) for name, one in peers.items()]
    notes = [_note(name, one) for name, one in peers.items()]
    return "\n\n".join([head, rows_of(TITLES, rows), *filter(None, notes)])


def _row(name: str, one: dict[str, Any], base: float | None) -> list[str]:
    memory, lost = f"{one['peak_bytes'] / 2**30:.1f} GiB", str(one["lost"])
    if one["error"]:
        return [NAMES[name], *["-"] * 4, memory, "-", lost, "-"]
    return [
        NAMES[name],
        _speed(one["times_real"], one["spread"]),
        "-" if base is None else f"{one['times_real'] / base:.2f}x",
        _speed(one["times_real_running"], one["spread_running"]),
        f"{one['startup_s']:.1f} s",
        memory,
        f"{one['cores_busy']:.2f}",
        lost,
        "-" if one["equal"] is None else f"{one['equal']:.2%}",
    ]


def _speed(median: float | None, spread: list[float] | None) -> str:
    return "-" if median is None or spread is None else f"{median:,.1f} ({spread[0]:,.1f} to {spread[1]:,.1f})"


def _note(name: str, one: dict[str, Any]) -> str:
    if one["error"]:
        return f"{NAMES[name]}: {one['error']}"
    return f"{NAMES[name]}: lost {one['lost']}, {', '.join(one['lost_formats'])}" if one["lost"] else ""
