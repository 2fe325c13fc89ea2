"""Numbers and sizes as readers want them: significant digits, errors, real minus signs.

What is written here is read and never computed with: wording has no part in the key of a stage that
measures.
"""

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MISSING = "–"


def number(value: float, digits: int = 3) -> str:
    """Write a number with significant digits, in powers of ten outside 1e-4 .. 1e7."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if not -4 <= power < 7:
        return _signed(f"{mantissa} × 10") + superscript(power)
    rounded = float(f"{value:.{digits - 1}e}")
    return _signed(f"{rounded:,.{max(0, digits - 1 - power)}f}")


def with_error(value: float, error: float) -> str:
    """Write a value and its standard error, the error with two significant digits, unbroken."""
    if not math.isfinite(error) or error <= 0:
        return number(value)
    power = math.floor(math.log10(float(f"{error:.1e}")))
    if not -4 <= power < 5:
        return f"{number(value)}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{number(error, 2)}"
    decimals = max(0, 1 - power)
    return _signed(
        f"{value:,.{decimals}f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{error:,.{decimals}f}"
    )


def count(value: float) -> str:
    """Write a whole number with thousands separators."""
    return _signed(f"{int(value):,}")


def superscript(exponent: int) -> str:
    """Write an exponent in raised digits."""
    return str(exponent).translate(_SUPERSCRIPTS)


def percent(fraction: float) -> str:
    """Write a fraction in per cent, without decimals from 1 % on."""
    if not math.isfinite(fraction):
        return MISSING
    digits = 0 if abs(fraction) >= 0.01 or fraction == 0 else 1
    return _signed(f"{100 * fraction:,.{digits}f}\N{NO-BREAK SPACE}%")


def times(ratio: float) -> str:
    """Write how many times as large something is, with two significant digits."""
    return f"{number(ratio, 2)} times"


def listing(items: list[str]) -> str:
    """Join items as in a sentence: `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def compact(value: float, digits: int = 4) -> str:
    """Write a number for a label: significant digits without trailing zeros."""
    return _signed(f"{value:.{digits}g}")


def prefixed(value: float) -> str:
    """Write a number with a prefix: 12, 1.2 k, 15.3 M, 2.5 G, 3.1 T."""
    for unit, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.1f}{prefix}"
    return f"{value:.0f}"


def size(num_bytes: float) -> str:
    """Write a number of bytes in TB, GB, MB, kB or B, with powers of 1000."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes:.0f} B"


def duration(seconds: float) -> str:
    """Write a time in hours, minutes or seconds."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def exception(error: BaseException) -> str:
    """Put an exception on one line, shortened."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}" if words else type(error).__name__


def _signed(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
