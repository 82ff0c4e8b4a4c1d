"""The one exception that a user is meant to see."""


class Problem(Exception):
    """Something the user can mend: the text says what, where, and what to do, in one sentence."""
