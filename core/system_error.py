"""Put an error of the system's into one line: what could not be read or written, and what to do about it."""

from __future__ import annotations

import errno

from ..errors import Attn2trtError, InputError, StorageError, one_line, place

# What to do about a failure of the system's, by its number.
FIXES = {
    errno.ENOSPC: "free space in the folder of the output and in that of temporary files",
    errno.EDQUOT: "free space in the folder of the output and in that of temporary files",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: "choose a place that can be written to",
    errno.EACCES: "fix the permission, or choose another place",
    errno.EPERM: "fix the permission, or choose another place",
    errno.EPIPE: "have the output read to its end",
}
# The same for what is wrong with a path itself, whatever lies there: bad input, with the path that would do.
NO_PATHS = {
    errno.ENAMETOOLONG: (
        "names of at most 255 bytes and paths of at most 4095, as systems take them",
        "give a shorter path",
    ),
    errno.ELOOP: ("a path without a link that leads back to itself", "give another path"),
    errno.ENOTDIR: ("a path through folders alone", "give another path"),
    errno.EISDIR: ("the path of a file", "name the file in it"),
}
NO_TEMPORARY = "No usable temporary directory"  # Python's own words, in an error without a path
LONGEST = 200  # characters of a path in a line


def system_error(error: OSError) -> Attn2trtError:
    """Return the error of the package for one of the system's: bad input if the path itself is at fault."""
    reason, path = error.strerror or str(error), place(error)
    if path is None or error.errno not in NO_PATHS:
        return storage_error(error.errno, reason, path)
    expected, fix = NO_PATHS[error.errno]
    shown = path if len(path) <= LONGEST else f"{path[:LONGEST]}…"
    return InputError(f"received {shown} ({reason}); expected {expected}; {fix}")


def storage_error(number: int | None, reason: str, path: str | None = None) -> StorageError:
    """Return the error of a failure with this number of the system's; ``path`` is where, if that is known."""
    reason = one_line(reason, None)
    if reason.startswith(NO_TEMPORARY):
        return StorageError(
            f"reading or writing failed: {reason}; free space in one, fix its permission, or name another by TMPDIR"
        )
    where = f" at {path}" if path else ""
    fix = "check the path" if where else "check the files that are read and the folder that is written to"
    fix = FIXES.get(number or 0, fix)
    return StorageError(f"reading or writing failed{where}: {reason}; {fix}{_temporary(number)}")


def _temporary(number: int | None) -> str:
    """Name the folder of temporary files, if it may be the full one."""
    import tempfile

    if number not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    try:
        return f", {tempfile.gettempdir()} (TMPDIR names another)"
    except OSError:  # none can be written to
        return " (TMPDIR names another)"
