"""How large numbers and sizes are written for people."""


def count(number: float) -> str:
    """Write a number with a prefix: 12, 1.2 k, 15.3 M, 2.5 G, 3.1 T."""
    for unit, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.1f}{prefix}"
    return f"{number:.0f}"


def size(num_bytes: float) -> str:
    """Write a number of bytes in GB, MB, kB or B, with powers of 1000."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes:.0f} B"
