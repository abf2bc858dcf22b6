"""All rows, in the order of the table."""

from benchmarks.faults import engine_rows, matrix, restart_rows, sender_rows, signal_rows, stream_rows

_MODULES = (sender_rows, signal_rows, stream_rows, engine_rows, restart_rows)
ROWS = {
    name: each for module in _MODULES for name, each in matrix.ROWS.items() if each.run.__module__ == module.__name__
}
