"""Errors: mistakes in the input and faults of the machine."""


class InputError(ValueError):
    """A mistake in the input: one line that says what, where and what to do. Exit status 2."""


class MachineError(RuntimeError):
    """A fault of the machine (a full disk) or one that only the run shows (divergence). Exit status 1."""


class Terminated(BaseException):
    """SIGTERM arrived. Like KeyboardInterrupt, it passes every `except Exception`."""


def one_line(text: object) -> str:
    """Return the text on one line, with control characters escaped.

    Paths, messages of other libraries and text from files may hold line breaks and terminal codes.
    """
    words = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words)
