"""Progress where there is no terminal: in a log, or among other jobs, a bar is a line every few seconds."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

SECONDS_BETWEEN_LINES = 5


class LinesOfProgress:
    """A text stream on which a progress bar, which draws over itself, becomes lines that stay."""

    def __init__(self, stream: TextIO) -> None:
        """Take the stream to write to."""
        self._stream, self._line = stream, ""

    def __getattr__(self, name: str) -> Any:
        """Leave all but writing to the stream itself."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the lines that are complete, a return of the carriage ending one too, and keep the rest."""
        *lines, self._line = (self._line + text).replace("\r", "\n").split("\n")
        # One write for each line, so that lines of several jobs do not mix.
        for line in lines:
            if line.strip():
                self._stream.write(line.rstrip() + "\n")
        return len(text)

    def flush(self) -> None:
        """Write what there is as a line: a bar is flushed whenever it has been drawn."""
        if self._line.strip():
            self._stream.write(self._line.rstrip() + "\n")
        self._line = ""
        self._stream.flush()


@contextlib.contextmanager
def progress_lines() -> Iterator[None]:
    """Within, let standard error hold lines of progress in place of bars, unless it is a terminal.

    Enter it before tqdm is imported, for tqdm reads its settings from the environment once.
    """
    if sys.stderr.isatty():
        yield
        return
    os.environ.setdefault("TQDM_MININTERVAL", str(SECONDS_BETWEEN_LINES))
    os.environ.setdefault("TQDM_ASCII", " #")
    lines = LinesOfProgress(sys.stderr)
    with contextlib.redirect_stderr(lines):
        try:
            yield
        finally:
            lines.flush()
