"""The result of a benchmark -> Markdown: the verdict first, a table a step."""

from collections.abc import Callable, Sequence
from typing import Any

from actors.bench.markdown import cell, rows_of
from actors.bench.subject import PARTS
from actors.bench.variants import CLIP_BY_CLIP, IN_LISTS

Found = dict[str, Any]


def table(result: Found) -> str:
    """The verdict, then the figures of every step that ran, then what did not run and why."""
    blocks = [_verdict(result["gates"])]
    for name, found in result["steps"].items():
        blocks += [f"**{name}** ({result['seconds'][name]:.0f} s)", *WRITERS[name](found)]
        blocks += [f"Left out: {one}: {cell(why)}" for one, why in found.get("left_out", {}).items()]
    return "\n\n".join([*blocks, *[f"Not measured: {name}: {why}" for name, why in result["errors"].items()]])


def _verdict(gates: Sequence[Found]) -> str:
    rows = []
    for gate in gates:
        measured = "" if gate["measured"] is None else f"{gate['measured']:,.6g}"
        rows.append([gate["gate"], f"{gate['least']:,.6g}", measured, gate["verdict"], gate["why"]])
    return rows_of(["gate", "at least", "measured", "verdict", "why"], rows)


def _environment(found: Found) -> list[str]:
    rows = [[name, str(value)] for name, value in found["versions"].items() if value is not None]
    if "gpu" in found:
        rows += [["gpu", f"{found['gpu']}, capability {found['capability']}, {found['sms']} multiprocessors"]]
    rows += [[f"product, {name}", f"{rate / 1e12:,.2f} TFLOP/s"] for name, rate in found["product_flops"].items()]
    rows += [["copy within the device", f"{found['copied_bytes_per_s'] / 1e9:,.0f} GB/s read and written"]]
    if "total_bytes" in found:
        rows += [["copy from the host", f"{found['from_host_bytes_per_s'] / 1e9:,.1f} GB/s"]]
        rows += [["device memory", f"{found['free_bytes'] / 2**30:.1f} of {found['total_bytes'] / 2**30:.1f} GiB free"]]
    rows += [[f"attention, {name}", ", ".join(kernels)] for name, kernels in found["attention"].items()]
    return [rows_of(["environment", ""], rows)]


def _correctness(found: Found) -> list[str]:
    rows = []
    for name, row in found["precisions"].items():
        rows.append([name, f"{row['equal']:.3%}", f"{row['equal_first']:.3%}", f"{row['decibels']:.0f}"])
        rows[-1].append(str(row["overflows"]))
    titles = [f"{found['seconds']:,.0f} s", "codes equal to upstream's", "of codebook 0", "dB to upstream", "overflows"]
    return [rows_of(titles, rows)]


def _company(found: Found) -> list[str]:
    keys = ("again", "in_another_order", "alone")
    rows = [[name, *(f"{row[key]:.3%}" for key in keys)] for name, row in found["precisions"].items()]
    return [rows_of(["codes equal", "called again", "in another order", "alone"], rows)]


def _streams(found: Found) -> list[str]:
    same = f"A stream beside one call, fp32: {found['equal']:.3%} of codes equal, {found['decibels']:.0f} dB."
    rows = [[part, *(f"{spent:.1f}" for spent in found["live"][part])] for part in PARTS]
    titles = [f"ms for 80 ms of a stream, {found['live']['precision']}", "median", "99th percentile"]
    return [same, rows_of(titles, rows)]


def _long(found: Found) -> list[str]:
    titles = ["attention", f"{found['seconds']:,.0f} s in one call, x real time", "start as alone", "peak memory"]
    rows = []
    for name, row in found["attention"].items():
        peak = row["memory"].get("device_peak", row["memory"]["host_peak_rss"])
        rows.append([name, f"{row['times_real']:,.1f}", f"{row['start_equal']:.3%}", f"{peak / 2**30:.2f} GiB"])
    return [rows_of(titles, rows)]


def _speed(found: Found) -> list[str]:
    blocks = []
    for part in PARTS:
        rows = []
        for name, row in found[part].items():
            speeds = [f"{row[key]:,.1f}" for key in ("times_real", "again")]
            rows.append([name, *speeds, *(f"{row[key]:.2f}" for key in ("fresh_to_again", "load_s", "first_call_s"))])
        titles = [part, "x real time, new lengths", "again", "ratio", "load s", "first call s"]
        blocks.append(rows_of(titles, rows))
    return blocks


def _busy(found: Found) -> list[str]:
    rows = []
    for part in PARTS:
        row = found.get(part)
        if row is not None:
            host = ["not asked on a CPU", "not counted on a CPU"]  # the device is the host, and waits for nobody
            if "launches_per_s" in row:
                host = [f"{row['busy']:.0%}", f"{row['launches_per_s']:,.1f}"]
            counts = [*host, f"{row['operators_per_s']:,.1f}", f"{row['moved_bytes_per_s'] / 1e6:,.1f}"]
            counts.append(f"{row['host_loop_s'] * 1e3:.1f} ms")
            memory = row["memory"].get("device_peak", row["memory"]["host_peak_rss"])
            longest = ", ".join(f"{name[:48]} {seconds * 1e3:.1f} ms" for name, seconds in row["kernels"].items())
            rows.append([part, *counts, f"{memory / 2**30:.2f} GiB", longest])
    titles = ["a second of audio", "busy", "launches", "operators", "MB moved", "a loop of the host"]
    titles += ["peak memory", "longest of a call"]
    return [rows_of(titles, rows)]


def _reader(found: Found) -> list[str]:
    rows = [[f"{rate:,.1f}", f"{speed:,.1f}"] for rate, speed in found["tried"]]
    rows.append(["all at hand", f"{found['alone']:,.1f}"])
    needed = "no rate that was tried" if found["needed"] is None else f"{found['needed']:,.1f}x"
    cores = ", ".join(f"{count} at {rate}x each" for rate, count in found["cores"].items() if count is not None)
    line = f"Enough to keep it busy: {needed}. Cores that read for one device: {cores or 'not found'}."
    return [rows_of(["audio arrives at x real time", "encoded at"], rows), line]


def _out_of_memory(found: Found) -> list[str]:
    if not found["limited"]:
        return ["Memory is not limited on a CPU: the same calls ran with all of it."]
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
    "company": _company,
    "streams": _streams,
    "speed": _speed,
    "busy": _busy,
    "reader": _reader,
    "long recording": _long,
    "out of memory": _out_of_memory,
    "beside upstream": _race,
}
