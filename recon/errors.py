"""The one exception that stands for a mistake of the user's."""


class UserError(Exception):
    """Wrong input or options: one sentence with the file (and line), what is wrong, and what would be right.

    The command line prints the sentence and exits with status 2; no traceback, nothing half-written.
    """
