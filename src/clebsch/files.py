"""Folders made, and writes that leave either the old file or the whole new one."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clebsch.errors import UserError

#: What the user's choice of a place can raise, whoever writes there.
_REFUSED = (
    errno.EACCES,
    errno.EROFS,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it on success.

    On any error the temporary file is removed and ``path`` is left as it was.

    Raises:
        UserError: ``path`` is a folder, its folder cannot be made or written, or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}{target.suffix}")
    if os.path.isdir(target):  # said before the work, not after it
        raise UserError(f"{target}: is a folder; name a file.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        # Some writers make private files; a result is as readable as any other file.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{target}: the disk is full; free some space and run again."
            ) from error
        ours = (str(temporary), str(target), *map(str, target.parents))
        if error.errno in _REFUSED or str(error.filename) in ours:
            raise UserError(
                f"{target}: cannot be written ({error.strerror}); choose another place."
            ) from error
        raise
    finally:
        with suppress(OSError):  # there is none, or none can be
            temporary.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file as a whole or not at all.

    Raises:
        UserError: see `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_place(path: str | os.PathLike[str]) -> None:
    """Make sure, before the work, that a file can be written; nothing is made.

    Raises:
        UserError: ``path`` is a folder, or its folder is not there and cannot be made, or cannot
            be written.
    """
    target = Path(path)
    if os.path.isdir(target):
        raise UserError(f"{target}: is a folder; name a file.")
    folder = next(p for p in target.absolute().parents if os.path.lexists(p))
    if not os.path.isdir(folder):
        reason = f"{folder} is no folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder} is not yours to write in"
    else:
        return
    raise UserError(f"{target}: cannot be written ({reason}); choose another place.")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder that a command writes into, and its parents; one that exists is left alone.

    Raises:
        UserError: it cannot be made or written, or is a file.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if os.path.isfile(folder) else error.strerror
        raise UserError(f"{folder}: cannot be made ({reason}); give another --out.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: cannot be written; give another --out.")
    return folder


def _umask() -> int:
    """The process's mask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
