"""The SQLite store's file: where it may lie, how it is made and opened. Its tables are made by `sqlite_migrations`.

Whatever cannot be a store is a `ConfigurationError` that says what to do.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import sys
from pathlib import Path
from urllib.parse import quote

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.stores.sqlite_migrations import MIGRATIONS, VERSION

APPLICATION_ID = 0x61736761
"""In the file's header: this database is ours, whatever its name says."""

_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "9p", "ceph", "coda", "lustre", "gpfs", "gfs2"),
    *("beegfs", "glusterfs", "ocfs2", "orangefs", "pvfs2", "sshfs", "s3fs", "davfs", "rclone", "gcsfuse", "juicefs"),
}
"""File systems of several machines, on which the shared memory that WAL needs is not shared."""


def is_locked(error: sqlite3.Error) -> bool:
    """Whether a statement failed only because another connection was at it: it may be tried again."""
    return isinstance(error, sqlite3.OperationalError) and "lock" in str(error)


def prepare(path: Path) -> None:
    """See that a database can live at this path, and make an empty file with mode 0600 if there is none.

    Raises:
        ConfigurationError: it cannot.
    """
    folder = path.parent
    if not folder.is_dir():
        raise ConfigurationError(f"ASGI_AUTH_STORE: there is no directory {folder}: make it, or name another file")
    kind = network_filesystem(folder)
    if kind is not None:
        raise ConfigurationError(
            f"ASGI_AUTH_STORE: {folder} is on a network file system ({kind}), where SQLite loses writes: "
            "use a local disk, or redis:// for several machines"
        )
    # Never opened when it is there: closing any descriptor of a file drops all locks that this process has on it.
    try:
        path.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        pass
    except OSError as error:
        raise _unwritable(folder, error.strerror) from error
    if not path.is_file():
        raise ConfigurationError(f"ASGI_AUTH_STORE: {path} is not a file: name another one")
    for place, rights in ((path, os.R_OK | os.W_OK), (folder, os.W_OK | os.X_OK)):
        if not os.access(place, rights, effective_ids=os.access in os.supports_effective_ids):
            raise _unwritable(place, "permission denied")


def _unwritable(place: Path, why: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"ASGI_AUTH_STORE: {place} cannot be written ({why}): give this process the right to write the database file "
        "and its directory (SQLite keeps two more files beside it), or name another file"
    )


def network_filesystem(folder: Path) -> str | None:
    """The kind of network file system that a directory is on; None: none, or it cannot be told (not Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return None
    device = os.stat(folder).st_dev
    return network_mount(mounts, folder=str(folder.resolve()), device=f"{os.major(device)}:{os.minor(device)}")


def network_mount(mounts: str, *, folder: str, device: str) -> str | None:
    """The kind of network file system under `folder`, by the text of /proc/self/mountinfo (proc(5)); None: none.

    The mount of this device counts; where none has it (btrfs and overlays show another one), the innermost mount point.
    """
    by_device: str | None = None
    by_path, depth = "", -1
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if not separator or len(fields) < 5:
            continue
        if fields[2] == device:
            by_device = kinds[0]
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4]).rstrip("/")
        if (folder == point or folder.startswith(f"{point}/")) and len(point) >= depth:
            by_path, depth = kinds[0], len(point)
    kind = by_device if by_device is not None else by_path
    name = kind.removeprefix("fuse.")
    return kind if name in _NETWORK else None


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there. It waits for nobody by itself, and any one thread may use it at a time.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    address = f"file:{quote(os.fsencode(path))}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA journal_size_limit=16777216")
    except BaseException:
        connection.close()
        raise
    return connection


def use_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Raises:
    ConfigurationError: this file or its directory has no room for a write-ahead log.
    """
    connection.execute("BEGIN")  # another process may be making the tables between two of the questions
    _version(connection, path)  # before anything is changed in a file that is not ours
    connection.execute("COMMIT")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise ConfigurationError(f"ASGI_AUTH_STORE: {path} cannot have a write-ahead log here: put it on a local disk")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables to `VERSION`, inside a transaction that the caller has begun.

    Raises:
        ConfigurationError: it is another application's database, or of a newer version.
    """
    version = _version(connection, path)
    for migration in MIGRATIONS[version:]:
        migration(connection)
    if version < VERSION:
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={VERSION}")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (tables or version or application):
        raise ConfigurationError(f"ASGI_AUTH_STORE: {path} is another application's database: name a file of its own")
    if version > VERSION:
        raise ConfigurationError(
            f"ASGI_AUTH_STORE: {path} was made by a newer asgi-auth (schema {version}, this one knows {VERSION}): "
            "upgrade asgi-auth, or name another file"
        )
    return int(version)


def is_current(connection: sqlite3.Connection) -> bool:
    """Inside a transaction: whether the tables are those of this version. False: an older database was put in the place
    of what the file held.

    Raises:
        StoreUnavailable: another process has brought them to a newer version, and this one would misunderstand them.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise StoreUnavailable(
            f"the SQLite store was migrated by a newer asgi-auth (schema {version}, this process knows {VERSION}): "
            "restart it with that version"
        )
    return bool(version == VERSION)


def _is_there(path: Path) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def unavailable(error: Exception, path: Path) -> StoreUnavailable:
    """Why a verb got no answer, and what cures it."""
    if not _is_there(path):
        return StoreUnavailable(f"the SQLite store's file {path} is gone: put it back, or restart to begin anew")
    wrong = misconfiguration(error, path) if isinstance(error, sqlite3.Error) else None
    if wrong is not None:
        return StoreUnavailable(str(wrong).removeprefix("ASGI_AUTH_STORE: "))
    text = str(error)
    if "disk is full" in text or "disk I/O error" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return StoreUnavailable(f"the SQLite store cannot write to {path} ({text}): is its disk full?")
    if isinstance(error, sqlite3.Error) and is_locked(error):
        return StoreUnavailable(f"the SQLite store was locked for too long by another program: who writes to {path}?")
    return StoreUnavailable(f"the SQLite store gave no answer: {text}")


def misconfiguration(error: sqlite3.Error, path: Path) -> ConfigurationError | None:
    """What is wrong with the file, if that is why it could not be opened; None: it may work later."""
    text = str(error)
    if "not a database" in text:
        return ConfigurationError(f"ASGI_AUTH_STORE: {path} is not an SQLite database: name another file")
    if "malformed" in text or "corrupt" in text:
        return ConfigurationError(
            f"ASGI_AUTH_STORE: the database {path} is damaged: restore it from a backup, or move it away to begin anew"
        )
    if "readonly" in text or "unable to open" in text:
        return _unwritable(path, text)
    return None
