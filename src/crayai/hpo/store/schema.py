"""The tables of a study, as numbered migrations; what has been released is never changed, only added to."""

import sqlite3

from crayai.hpo.errors import StoreError

_MIGRATIONS = (
    """
    CREATE TABLE setting (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL,           -- as JSON
        total INTEGER NOT NULL,        -- how many settings there are
        checksum INTEGER NOT NULL      -- of the other columns, as everywhere below
    ) WITHOUT ROWID;

    CREATE TABLE asked (
        number INTEGER PRIMARY KEY,
        event INTEGER NOT NULL,        -- the place in the order of all events
        at REAL NOT NULL,              -- seconds since 1970
        generation INTEGER NOT NULL,
        deme INTEGER NOT NULL,
        parents TEXT NOT NULL,         -- numbers of evaluations, as a JSON list
        resume_from INTEGER,
        "values" TEXT NOT NULL,        -- what the program received, as a JSON object
        checksum INTEGER NOT NULL
    );

    CREATE TABLE launched (
        number INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        event INTEGER NOT NULL,
        at REAL NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (number, attempt)
    ) WITHOUT ROWID;

    CREATE TABLE attempt_failed (      -- another attempt was to be made
        number INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        event INTEGER NOT NULL,
        at REAL NOT NULL,
        cause TEXT NOT NULL,
        detail TEXT NOT NULL,
        seconds REAL,                  -- that it ran; NULL: not known
        location TEXT NOT NULL,        -- where it ran
        checksum INTEGER NOT NULL,
        PRIMARY KEY (number, attempt)
    ) WITHOUT ROWID;

    CREATE TABLE told (
        number INTEGER PRIMARY KEY,
        event INTEGER NOT NULL,
        at REAL NOT NULL,
        loss REAL,                     -- NULL: failed
        cause TEXT,
        detail TEXT,
        seconds REAL,                  -- that the last attempt ran; NULL: not known
        proof INTEGER,                 -- checksum of the values of this evaluation
        checksum INTEGER NOT NULL
    );

    CREATE TABLE driver (              -- who wrote the log, in turn
        number INTEGER PRIMARY KEY,
        event INTEGER NOT NULL,        -- the last one before
        at REAL NOT NULL,
        name TEXT NOT NULL
    );

    CREATE TABLE held (                -- what crayai recover saved of evaluations that cannot be asked for again yet
        entry INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,            -- the table that it is a row of
        content TEXT NOT NULL          -- the row, as a JSON list
    );

    CREATE VIEW evaluation AS
    SELECT asked.number, generation, deme, parents, resume_from, "values", loss, cause, detail,
           asked.at AS asked_at,
           (SELECT max(at) FROM launched WHERE launched.number = asked.number) AS launched_at,
           (SELECT max(attempt) FROM launched WHERE launched.number = asked.number) AS attempt,
           told.at AS told_at
    FROM asked LEFT JOIN told ON told.number = asked.number;
    """,
)


def check_format(connection: sqlite3.Connection) -> int:
    """Return the format of the tables; 0: there are none.

    Raises:
        StoreError: The database was written by a later version.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        raise StoreError(
            f"the log has format {version}, this version knows formats up to {len(_MIGRATIONS)}: install a later crayai"
        )
    return version


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables up to date; each migration and the record of it are one transaction.

    Raises:
        StoreError: The database was written by a later version.
    """
    version = check_format(connection)
    for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
