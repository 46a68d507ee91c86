"""The result of a benchmark -> Markdown: the verdict first, a table a step."""

from collections.abc import Callable, Sequence
from typing import Any

from actors.bench.variants import CLIP_BY_CLIP, IN_LISTS

Found = dict[str, Any]


def table(result: Found) -> str:
    """The verdict, then the figures of every step that ran, then what did not run and why."""
    blocks = [_verdict(result["gates"])]
    for name, found in result["steps"].items():
        blocks += [f"**{name}** ({result['seconds'][name]:.0f} s)", *WRITERS[name](found)]
        blocks += [f"Left out: {one}: {why}" for one, why in found.get("left_out", {}).items()]
    return "\n\n".join([*blocks, *[f"Not measured: {name}: {why}" for name, why in result["errors"].items()]])


def rows_of(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _verdict(gates: Sequence[Found]) -> str:
    rows = []
    for gate in gates:
        measured = "" if gate["measured"] is None else f"{gate['measured']:,.5g}"
        rows.append([gate["gate"], f"{gate['least']:,.4g}", measured, gate["verdict"], gate["why"]])
    return rows_of(["gate", "at least", "measured", "verdict", "why"], rows)


def _environment(found: Found) -> list[str]:
    rows = [[name, str(value)] for name, value in found["versions"].items() if value is not None]
    rows += [[f"product, {name}", f"{rate / 1e12:,.2f} TFLOP/s"] for name, rate in found["product_flops"].items()]
    rows += [["copy within the device", f"{found['copied_bytes_per_s'] / 1e9:,.0f} GB/s read and written"]]
    if "total_bytes" in found:
        rows += [["copy from the host", f"{found['from_host_bytes_per_s'] / 1e9:,.1f} GB/s"]]
        rows += [["device memory", f"{found['free_bytes'] / 2**30:.1f} of {found['total_bytes'] / 2**30:.1f} GiB free"]]
    rows += [[f"attention, {name}", ", ".join(kernels)] for name, kernels in found["attention"].items()]
    return [rows_of(["environment", ""], rows)]


def _correctness(found: Found) -> list[str]:
    titles = ["precision", "codes equal to upstream's", "of codebook 0", "dB to upstream", "again", "in another order"]
    keys = ("equal", "equal_first", "again", "in_another_order", "alone")
    rows = []
    for name, row in found["precisions"].items():
        equal, first, *company = (f"{row[key]:.3%}" for key in keys)
        rows.append([name, equal, first, f"{row['decibels']:.0f}", *company, str(row["overflows"])])
    streams = found["streams"]
    line = f"Streams beside calls, fp32: {streams['equal']:.3%} of codes, {streams['decibels']:.0f} dB."
    return [rows_of([*titles, "alone", "overflows"], rows), line]


def _long(found: Found) -> list[str]:
    titles = ["attention", f"{found['seconds']:,.0f} s in one call, x real time", "start as alone", "peak memory"]
    rows = []
    for name, row in found["attention"].items():
        peak = row["memory"].get("device_peak", row["memory"]["host_peak_rss"])
        rows.append([name, f"{row['times_real']:,.1f}", f"{row['start_equal']:.3%}", f"{peak / 2**30:.2f} GiB"])
    return [rows_of(titles, rows)]


def _speed(found: Found) -> list[str]:
    blocks = []
    for part in ("encode", "decode"):
        rows = []
        for name, row in found[part].items():
            speeds = [f"{row[key]:,.1f}" for key in ("times_real", "again")]
            rows.append([name, *speeds, *(f"{row[key]:.2f}" for key in ("fresh_to_again", "load_s", "first_call_s"))])
        titles = [part, "x real time, new lengths", "again", "ratio", "load s", "first call s"]
        blocks.append(rows_of(titles, rows))
    return blocks


def _busy(found: Found) -> list[str]:
    titles = ["", "busy", "launches a second of audio", "operators", "MB moved", "longest kernels"]
    rows = []
    for part, row in found.items():
        launches = f"{row['launches_per_s']:,.1f}" if "launches_per_s" in row else ""
        counts = [launches, f"{row['operators_per_s']:,.1f}", f"{row['moved_bytes_per_s'] / 1e6:,.1f}"]
        longest = ", ".join(f"{name[:40]} {seconds * 1e3:.1f} ms" for name, seconds in list(row["kernels"].items())[:3])
        rows.append([part, f"{row['busy']:.0%}", *counts, longest])
    return [rows_of(titles, rows)]


def _reader(found: Found) -> list[str]:
    rows = [[f"{rate:,.1f}", f"{speed:,.1f}"] for rate, speed in found["tried"]]
    rows.append(["all at hand", f"{found['alone']:,.1f}"])
    needed = "no rate that was tried" if found["needed"] is None else f"{found['needed']:,.1f}x"
    cores = ", ".join(f"{count} at {rate}x each" for rate, count in found["cores"].items() if count is not None)
    line = f"Enough to keep it busy: {needed}. Cores that read for one device: {cores or 'not found'}."
    return [rows_of(["audio arrives at x real time", "encoded at"], rows), line]


def _out_of_memory(found: Found) -> list[str]:
    titles = ["tiles at once", "after memory ran out", "codes equal", "equal after it"]
    counts = [str(found["tiles_before"]), str(found["tiles_after"])]
    return [rows_of(titles, [[*counts, f"{found['equal']:.3%}", f"{found['equal_after']:.3%}"]])]


def _race(found: Found) -> list[str]:
    return [_beside(part, rows) for part, rows in found["figures"].items()]


def _beside(part: str, rows: Found) -> str:
    compared = ["equal codes", "of codebook 0"] if part == "encode" else ["dB to upstream"]
    titles = [part, "x real time", "vs lists", "vs clip by clip", "GFLOP/s", "of a product", *compared, "peak memory"]
    titles += ["launches", "of copy rate"] if any("launches" in row for row in rows.values()) else []
    lines = []
    for name, row in rows.items():
        speed = row["times_real"]
        others = [rows.get(other, {}).get("times_real") for other in (IN_LISTS, CLIP_BY_CLIP)]
        ratios = ["" if other is None else f"{speed / other:.2f}x" for other in others]
        rate = [f"{row['flops'] / 1e9:,.0f}", f"{row['flops'] / row['product_flops']:.0%}"]
        same = [f"{row[key]:.2%}" for key in ("equal", "equal_first") if key in row] or [f"{row['decibels']:.0f}"]
        peak = f"{row['peak_bytes'] / 2**30:.2f} GiB" if "peak_bytes" in row else ""
        more = [f"{row['launches']:,}", f"{row['copied_bytes'] / row['copy_bytes']:.1%}"] if "launches" in row else []
        lines.append([name, f"{speed:,.1f}", *ratios, *rate, *same, peak, *more])
    return rows_of(titles, lines)


WRITERS: dict[str, Callable[[Found], list[str]]] = {
    "environment": _environment,
    "correctness": _correctness,
    "speed": _speed,
    "busy": _busy,
    "reader": _reader,
    "long recording": _long,
    "out of memory": _out_of_memory,
    "beside upstream": _race,
}
