"""Progress without a terminal: in a log, or among other jobs, a bar becomes a line every few seconds."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

SECONDS_BETWEEN_LINES = 5


class LinesOfProgress:
    """A text stream that turns a progress bar, which overwrites itself, into lines that stay."""

    def __init__(self, stream: TextIO) -> None:
        """Take the stream to write to."""
        self._stream, self._line = stream, ""

    def __getattr__(self, name: str) -> Any:
        """Delegate everything except writing to the stream."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the complete lines, where a carriage return ends one too, and keep the rest."""
        *lines, self._line = (self._line + text).replace("\r", "\n").split("\n")
        # One write for each line, so that lines of several jobs do not mix.
        for line in lines:
            if line.strip():
                self._stream.write(line.rstrip() + "\n")
        return len(text)

    def flush(self) -> None:
        """Write the text so far as a line: a bar is flushed whenever it has been drawn."""
        if self._line.strip():
            self._stream.write(self._line.rstrip() + "\n")
        self._line = ""
        self._stream.flush()


@contextlib.contextmanager
def progress_lines() -> Iterator[None]:
    """Inside this context, write lines of progress to standard error in place of bars, unless it is a terminal.

    Enter it before tqdm is imported, because tqdm reads its settings from the environment only once.
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
