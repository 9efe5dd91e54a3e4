"""What can go wrong in a benchmark, as it is told to a person."""


class RunError(Exception):
    """One run failed or did not verify; it is shown and not counted."""


class BenchError(Exception):
    """The benchmark cannot go on; the text says what to do."""
