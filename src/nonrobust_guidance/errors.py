"""The one exception that carries a message meant for the user."""


class UserError(Exception):
    """A mistake the user can mend; its message is one sentence: what is wrong, where, and what to do."""
