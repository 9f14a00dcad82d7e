"""The user's mistakes, and any error in one line."""


class UserError(Exception):
    """What is wrong, where, and what to do, in one line. The command line prints it and exits with 2."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its class's name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
