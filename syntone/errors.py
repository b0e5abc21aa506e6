"""Errors: mistakes in the input and faults of the machine."""


class InputError(ValueError):
    """A mistake in the input; the message is one line with the place and the remedy. Exit status 2."""


class MachineError(RuntimeError):
    """A fault of the machine (full disk) or of the run (divergence). Exit status 1."""


class Terminated(BaseException):
    """SIGTERM. Like KeyboardInterrupt, it is not caught by `except Exception`."""


def one_line(text: object) -> str:
    """Return the text on one line, with control characters escaped.

    Paths, file contents and messages of other libraries may contain line breaks and terminal codes.
    """
    words = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words)
