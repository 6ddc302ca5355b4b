"""The one exception that carries a message meant for the user, and what it says of an incomplete installation."""


class UserError(Exception):
    """A mistake the user can mend; its message is one sentence: what is wrong, where, and what to do."""


def missing_program(name: str) -> str:
    """Say of a program that comes with the package how to get it."""
    return f"{name} is not on the PATH; activate its environment, or pip install 'nonrobust-guidance[workflow]'"
