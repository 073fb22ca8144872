"""pydicom on files that may be broken: whatever it raises becomes one sentence."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.errors import BytesLengthException, InvalidDicomError

from recon.errors import UserError
from recon.formats.untrusted import failures_named, plain

# pydicom parses a value when it is asked for, and raises whatever that gives.
PARSE_FAILURES = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    struct.error,
    InvalidDicomError,
    BytesLengthException,
)


@contextmanager
def parsing(path: Path) -> Iterator[None]:
    """For blocks that only take values out of a DICOM file: their failures are the file's.

    Raises:
        UserError: pydicom cannot make sense of the file.
    """
    with warnings.catch_warnings(), failures_named(path):
        warnings.simplefilter("ignore")  # of every value that bends the standard; the values are checked
        try:
            yield
        except PARSE_FAILURES as error:
            reason = (plain(error) or type(error).__name__).rstrip(". ")
            raise UserError(f"{path}: is not sound DICOM ({reason}); export it anew") from error
