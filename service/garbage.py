"""Python's collector of cycles, set for processes that run long."""

import gc


def collect_rarely() -> None:
    """To be called once a process has started: what is there by then stays, and is not looked
    through again.

    Records and pages are objects by the million, hardly any in cycles. At the usual rate a tenth of
    a consumer's time went into looking, and a page in a hundred waited 50 ms for it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
