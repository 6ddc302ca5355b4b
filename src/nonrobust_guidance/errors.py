"""The one exception whose message is meant for the user, and the message about an incomplete installation."""


class UserError(Exception):
    """A mistake the user can fix; its message is one sentence: what is wrong, where, and what to do.

    File names in it may contain anything; `printable` escapes what cannot be printed on one line.
    """

    def __init__(self, sentence: str) -> None:
        """Take the sentence."""
        super().__init__(printable(sentence))


def printable(text: str) -> str:
    r"""Return the text on one line, with escapes such as ``\n`` and ``\udcff`` for what no terminal can print."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def missing_program(name: str) -> str:
    """Say how to get a program that comes with the package."""
    return f"{name} is not on the PATH; activate its environment, or pip install 'nonrobust-guidance[workflow]'"
