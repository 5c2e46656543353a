"""Reads what can be read of a damaged log, without SQLite: whatever its checksum proves.

Every page that is found anywhere is looked through for rows, whether or not a tree leads to it: in the file, in the
frames of the write-ahead log, and in the rollback journal, which has pages as they were before. Rows are only ever
added, so that an old page has nothing that is wrong, and it does not matter where a row is found.

The formats are those of https://www.sqlite.org/fileformat2.html, "Database File Format": 1.6 b-tree pages, 1.7 cell
payload overflow pages, 2.1 record format, 2.4 tables without row numbers, which are index b-trees, 3 the rollback
journal, 4.1 the format of the write-ahead log.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crayai.hpo.errors import StoreError
from crayai.hpo.records import Asked, Event, Launched, Told
from crayai.hpo.store.rows import COLUMNS, SETTING, Row, event_in, is_intact

_PAGE_SIZES = (4096, 512, 1024, 2048, 8192, 16384, 32768, 65536)
"""The usual one first."""

_LEAF_OF_TABLE, _LEAF_OF_INDEX, _INNER_OF_INDEX = 0x0D, 0x0A, 0x02
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_WAL_HEADER, _FRAME_HEADER = 32, 24

_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_TIMES_AND_LOSSES = {"at", "loss", "seconds"}
"""Columns of the type REAL; SQLite stores 2.0 as 2 there."""

_TABLES = {**COLUMNS, "setting": SETTING}
_UNREADABLE = (IndexError, KeyError, ValueError, struct.error)  # KeyError: a lost overflow page

Image = tuple[int, bytes]
"""The number of a page, and what it holds."""


@dataclass(frozen=True)
class Salvaged:
    """What was read.

    Attributes:
        settings: Those that were found.
        events: What happened to each evaluation, each event with its time: asked for, attempts in turn, told.
        in_order: How many events the log had brought into its order; others were held by an earlier recovery.
    """

    settings: dict[str, Any]
    events: Mapping[int, list[tuple[float, Event]]]
    in_order: int


def salvage(path: Path) -> Salvaged:
    """Return what can be read of the log `path`, and of the journals beside it.

    Raises:
        StoreError: The files cannot be opened.
    """
    try:
        database, wal, journal = (_content(Path(f"{path}{suffix}")) for suffix in ("", "-wal", "-journal"))
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    is_usual = int.from_bytes(database[16:18]) == _PAGE_SIZES[0]  # else the header may be destroyed
    found = [
        _found([*_of_journal(journal, size), *_of_file(database, size), *_of_wal(wal, size)], size)
        for size in (_PAGE_SIZES[:1] if is_usual else _PAGE_SIZES)
    ]
    return max(found, key=lambda one: len(one.settings) + one.in_order + len(one.events))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _of_file(database: bytes, size: int) -> Iterator[Image]:
    for number, start in enumerate(range(0, len(database), size), start=1):
        yield number, database[start : start + size].ljust(size, b"\0")


def _of_wal(wal: bytes, size: int) -> Iterator[Image]:
    """Return the pages in a write-ahead log, those that are left from before it was begun anew first."""
    starts = range(_WAL_HEADER, len(wal) - _FRAME_HEADER, _FRAME_HEADER + size)
    salt = wal[16:24]
    for start in sorted(starts, key=lambda start: wal[start + 8 : start + 16] == salt):
        page = wal[start + _FRAME_HEADER : start + _FRAME_HEADER + size]
        yield int.from_bytes(wal[start : start + 4]), page.ljust(size, b"\0")


def _of_journal(journal: bytes, size: int) -> Iterator[Image]:
    """Return the pages in a rollback journal: segments with a header that fills a sector."""
    at = 0
    while journal[at : at + 8] == _JOURNAL_MAGIC and len(journal) >= at + 28:
        pages, _, _, sector = struct.unpack_from(">4I", journal, at + 8)
        at += sector or 512
        there = max(len(journal) - at, 0) // (size + 8)
        for _ in range(pages if 0 < pages < there else there):
            yield int.from_bytes(journal[at : at + 4]), journal[at + 4 : at + 4 + size]
            at += size + 8
        at += -at % (sector or 512)


def _found(images: list[Image], size: int) -> Salvaged:
    """Return what the pages hold, later ones instead of earlier ones."""
    scan = _Scan(dict(images), size)
    for number, page in images:
        scan.look_through(number, page)
    settings = {name: json.loads(row[1]) for name, row in scan.rows["setting"].items()}
    events: dict[int, list[tuple[float, Event]]] = {}
    for table in COLUMNS:
        for row in {**scan.held[table], **scan.rows[table]}.values():
            event = event_in(table, row)
            events.setdefault(event.number, []).append((row[COLUMNS[table].index("at")], event))
    for of_one in events.values():
        of_one.sort(key=lambda dated: _stage(dated[1]))
    return Salvaged(settings, events, sum(len(scan.rows[table]) for table in COLUMNS))


def _stage(event: Event) -> tuple[int, int]:
    """Return what to sort the events of one evaluation by."""
    if isinstance(event, Asked | Told):
        return (0 if isinstance(event, Asked) else 2), 0
    return 1, 2 * event.attempt - isinstance(event, Launched)


@dataclass
class _Scan:
    """Looks through pages for rows.

    Attributes:
        pages: The pages by number, to follow what does not fit into one.
        size: Bytes of a page.
        rows: The rows of each table, by their keys.
        held: Those that an earlier recovery held.
    """

    pages: Mapping[int, bytes]
    size: int
    rows: dict[str, dict[Any, Row]] = field(default_factory=lambda: {table: {} for table in _TABLES})
    held: dict[str, dict[Any, Row]] = field(default_factory=lambda: {table: {} for table in _TABLES})

    def look_through(self, number: int, page: bytes) -> None:
        """Take the rows of a page, if it is one that has rows."""
        start = 100 if number == 1 else 0  # behind the header of the file
        kind = page[start]
        if kind not in {_LEAF_OF_TABLE, _LEAF_OF_INDEX, _INNER_OF_INDEX}:
            return
        pointers = start + (12 if kind == _INNER_OF_INDEX else 8)
        cells = min(int.from_bytes(page[start + 3 : start + 5]), (self.size - pointers) // 2)
        for at in struct.unpack_from(f">{cells}H", page, pointers):
            try:
                self._take(self._record(page, at, kind))
            except _UNREADABLE:
                continue

    def _take(self, record: list[Any]) -> None:
        """Keep a record if it is a row of ours; its width and its checksum tell of which table."""
        if len(record) == 3 and record[1] in COLUMNS:  # noqa: PLR2004 - entry, kind, content
            self._keep(self.held, record[1], tuple(json.loads(record[2])))
        for table, names in _TABLES.items():
            if len(names) == len(record):
                self._keep(self.rows, table, _with_affinity(names, record))

    @staticmethod
    def _keep(rows: dict[str, dict[Any, Row]], table: str, row: Row) -> None:
        if is_intact(table, row):
            rows[table][row[:2] if _TABLES[table][1] == "attempt" else row[0]] = row

    def _record(self, page: bytes, at: int, kind: int) -> list[Any]:
        """Return the columns of the cell at `at`."""
        length, at = _varint(page, at + 4 if kind == _INNER_OF_INDEX else at)
        number = None
        if kind == _LEAF_OF_TABLE:
            number, at = _varint(page, at)
        columns = _columns(self._payload(page, at, length, kind))
        return columns if number is None else [number, *columns[1:]]  # it has NULL in the column that is its number

    def _payload(self, page: bytes, at: int, length: int, kind: int) -> bytes:
        """Return the payload of a cell, with what is on overflow pages."""
        most = self.size - 35 if kind == _LEAF_OF_TABLE else (self.size - 12) * 64 // 255 - 23
        if length <= most:
            return page[at : at + length]
        if length > self.size * len(self.pages):
            raise IndexError
        least = (self.size - 12) * 32 // 255 - 23
        here = least + (length - least) % (self.size - 4)
        here = here if here <= most else least
        parts, missing = [page[at : at + here]], length - here
        following = int.from_bytes(page[at + here : at + here + 4])
        while missing > 0:
            overflow = self.pages[following]
            parts.append(overflow[4 : 4 + missing])
            missing -= len(parts[-1])
            following = int.from_bytes(overflow[:4])
        return b"".join(parts)


def _columns(record: bytes) -> list[Any]:
    """Return the values of a record."""
    end, at = _varint(record, 0)
    kinds = []
    while at < end:
        kind, at = _varint(record, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        length = (kind - 12) // 2 if kind >= 12 else 8 if kind == 7 else _INTEGER_BYTES.get(kind, 0)  # noqa: PLR2004 - the format's
        values.append(_value(kind, record[at : at + length]))
        at += length
    return values


def _value(kind: int, content: bytes) -> Any:
    """Return the value of a serial type: NULL, integers, a float, 0 and 1; blobs and texts have their length in it."""
    if kind in _INTEGER_BYTES:
        return int.from_bytes(content, signed=True)
    if kind == 7:  # noqa: PLR2004 - the format's
        return struct.unpack(">d", content)[0]
    if kind >= 12:  # noqa: PLR2004 - the format's
        return content.decode() if kind % 2 else content
    return {0: None, 8: 0, 9: 1}[kind]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at`, of seven bits a byte, and where it ends."""
    value = 0
    for here in range(at, at + 8):
        value = value << 7 | data[here] & 0x7F
        if data[here] < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, here + 1
    return value << 8 | data[at + 8], at + 9


def _with_affinity(names: Iterable[str], values: list[Any]) -> Row:
    """Return `values` as SQLite gives them back."""
    return tuple(
        float(value) if name in _TIMES_AND_LOSSES and isinstance(value, int) else value
        for name, value in zip(names, values, strict=True)
    )
