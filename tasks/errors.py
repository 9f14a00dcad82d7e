"""The user's mistakes."""


class UserError(Exception):
    """What is wrong, where, and what to do, in one line. The command line prints it and exits with 2."""
