"""The one error that is the user's to mend."""


class UserError(ValueError):
    """Wrong input. The message is one sentence that names the file, the record and the mend.

    The command line prints it and exits with code 2; a library caller sees a ``ValueError``.
    """
