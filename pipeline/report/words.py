"""Numbers and names -> how the page writes them."""


def hours(value: float) -> str:
    """ "3.2 s", "12.5 min", "1,234.5 h" of hours."""
    if value >= 1:
        return f"{value:,.1f} h"
    return f"{value * 60:,.1f} min" if value * 60 >= 1 else f"{value * 3600:,.1f} s"


def seconds(value: float) -> str:
    """`hours` of seconds."""
    return hours(value / 3600)


def share(part: float, whole: float) -> str:
    """ "0.52%"; "0%" of nothing. More digits where it is small, so that few are not shown as none."""
    value = 100 * part / whole if whole else 0.0
    return f"{value:.3g}%" if value < 99 or value == 100 else f"{value:.2f}%"
