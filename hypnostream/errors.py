"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """A mistake that its user can mend. The message names the thing, its value and the remedy, in one line.

    The command line prints it without a traceback and exits with code 2.
    """


class InputWarning(UserWarning):
    """Something was wrong in the input, and as much was made of it as could be."""
