"""The one error that is the user's to mend, and sentences that several places say."""


class UserError(ValueError):
    """Wrong input. The message is one sentence that names the file, the record and the mend.

    The command line prints it and exits with code 2; a library caller sees a ``ValueError``.
    """


def no_such_frame(where: str, asked: int, count: int) -> UserError:
    """The error for a frame that a file of ``count`` frames, one at least, does not have."""
    there = "the only one is 0" if count == 1 else f"they are 0 to {count - 1}"
    return UserError(f"{where}: has no frame {asked}; {there}.")
