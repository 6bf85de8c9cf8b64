"""The data worth protecting: this morning's readings of ten tide gauges, on a coast that is on no map."""

from collections.abc import Iterator

Row = dict[str, str | float]

COLUMNS = ("station", "read_at", "level_m", "trend", "next_high_water", "water_temperature_c", "wind")

_READINGS: tuple[tuple[str | float, ...], ...] = (
    ("North Pier", "08:40", 2.31, "rising", "11:52", 9.4, "SW 3"),
    ("Old Harbour", "08:40", 2.18, "rising", "11:58", 9.6, "SW 3"),
    ("Heron Creek", "08:41", 1.07, "rising", "12:35", 10.1, "SW 2"),
    ("Sandgate Lock", "08:38", 1.94, "rising", "12:06", 9.8, "W 2"),
    ("Lantern Point", "08:40", 2.66, "steady", "11:31", 8.9, "SW 4"),
    ("Millstone Quay", "08:42", 1.52, "rising", "12:20", 9.9, "SW 2"),
    ("Gull Island", "08:39", 2.74, "steady", "11:27", 8.7, "SW 5"),
    ("Ferry Steps", "08:40", 1.88, "rising", "12:09", 9.7, "W 2"),
    ("Whiting Bay", "08:37", 2.49, "rising", "11:44", 9.1, "SW 4"),
    ("Outer Beacon", "08:40", 2.81, "falling", "11:19", 8.6, "SW 5"),
)

ROWS: tuple[Row, ...] = tuple(dict(zip(COLUMNS, reading, strict=True)) for reading in _READINGS)

PIECE_BYTES = 16 * 1024


def stream_csv(size: int) -> Iterator[bytes]:
    """At least `size` bytes of CSV in whole lines, and less than one round of rows more, in pieces of some 16 KB."""
    piece = [_csv_line(COLUMNS)]
    held = len(piece[0])
    sent = 0
    lines = [_csv_line(tuple(row.values())) for row in ROWS]
    while sent + held < size:
        piece += lines
        held += sum(map(len, lines))
        if held >= PIECE_BYTES:
            yield b"".join(piece)
            sent += held
            piece, held = [], 0
    if piece:
        yield b"".join(piece)


def _csv_line(values: tuple[str | float, ...]) -> bytes:
    return (",".join(map(str, values)) + "\r\n").encode()
