"""Errors that the user can mend, and the first line of any error."""


class UserError(Exception):
    """An error in one line: what is wrong, where, and what to do. The command line prints it and exits with 2."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the class name where the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
