"""Exit codes: the one place where errors become numbers, and one red line on stderr."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OTHER = 1
MEANINGS: dict[int, str] = {
    0: "all went well",
    OTHER: "an error that has no code of its own; or nobody reads stdout any more",
    2: "the command line is wrong: an unknown command, option or value",
    3: "an optional library is missing; the message names the extra to install",
    4: "a file, folder, collection or model is not there",
    5: "bad input: a record, page, picture, judgment or ranking that cannot be used",
    6: "a model or ranker failed: wrong weights, an order that is no permutation, killed in training, no answer",
    7: "the budget is spent; what was written so far is kept",
    8: "a store of answers cannot be used, or its log was changed; the message names the first bad row",
    130: "stopped by Ctrl-C",
}
"""Every code that the command ends with; 2 and 130 are given by the command line itself."""


def exit_code(error: BaseException) -> int:
    """The code that an error ends the command with; ``OTHER`` when there is none for it."""
    from wholepage.apps.places import NotFound  # here: `wholepage --help` must not wait for numpy
    from wholepage.pages import errors

    codes: tuple[tuple[type[BaseException], int], ...] = (  # the first that fits, so narrow ones come first
        (NotFound, 4),
        (FileNotFoundError, 4),
        (errors.MissingExtra, 3),
        (errors.ImageError, 5),
        (errors.InputError, 5),
        (errors.WeightsError, 6),
        (errors.DecodingError, 6),
        (errors.WorkerLost, 6),
        (errors.EndpointError, 6),
        (errors.BudgetSpent, 7),
        (errors.StoreError, 8),
        (errors.SignInRefused, 5),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), OTHER)


@contextmanager
def reported() -> Iterator[None]:
    """End the process with one red line and its code when a named error comes through.

    With ``WHOLEPAGE_DEBUG=1`` the error goes on, traceback and all.

    Raises:
        SystemExit: a WholepageError or OSError came through.
    """
    from wholepage.pages.errors import WholepageError

    try:
        yield
    except (WholepageError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            sys.exit(OTHER)
        if os.environ.get("WHOLEPAGE_DEBUG") == "1":
            raise
        say_error(str(error))
        sys.exit(exit_code(error))


def _nobody_reads() -> bool:
    """Whether who read stdout has gone, as ``head`` does when it has seen enough; what is left then goes nowhere."""
    if not hasattr(select, "poll"):  # Windows
        return False
    looked = select.poll()
    looked.register(sys.stdout.fileno(), 0)  # that the other end is closed is told unasked
    if not looked.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
    return True


def say_error(message: str) -> None:
    """One line on stderr, red where there is a terminal."""
    line = f"error: {' '.join(message.split())}"
    red = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\x1b[31m{line}\x1b[0m" if red else line, file=sys.stderr)
