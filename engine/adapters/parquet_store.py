"""The evidence store: Parquet files that exist for readers only once a manifest names them.

Data files are written and synced first, then the next numbered manifest is linked into
place; two writers cannot both get a number. Page checksums are written and verified, and
every file's SHA-256 is in its manifest: plain Parquet reads most bit flips back silently.
"""

import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.adapters.disk import RealDisk
from engine.clock import NS_PER_S
from engine.errors import EvidenceError

Row = dict[str, Any]


@dataclass(frozen=True)
class Commit:
    """One manifest: what a step wrote, and where its reader was in the source."""

    number: int
    step: str
    files: tuple[tuple[str, str, int], ...]
    cursor: dict[str, Any]


class ParquetStore:
    """One table in a folder."""

    def __init__(self, folder: Path, time_column: str) -> None:
        self._folder = folder
        self._time_column = time_column
        self._manifests = folder / "_manifest"

    def commits(self) -> list[Commit]:
        """All commits, oldest first. Raises EvidenceError for a manifest that cannot be read."""
        found = []
        for path in sorted(self._manifests.glob("*.json")):
            try:
                plain = json.loads(path.read_text())
                files = tuple((str(name), str(digest), int(rows)) for name, digest, rows in plain["files"])
                found.append(Commit(int(path.stem), plain["step"], files, plain["cursor"]))
            except (ValueError, KeyError, TypeError) as error:
                raise EvidenceError(f"{path}: not a manifest ({error})") from error
            if found[-1].number != len(found):
                missing = self._manifests / f"{len(found):06d}.json"
                raise EvidenceError(f"{missing}: manifest is missing; the commits after it cannot be trusted")
        return found

    def commit(self, step: str, rows: Sequence[Row], cursor: dict[str, Any]) -> Commit:
        """Write the rows of a step once; a step that is committed already is returned as it is."""
        earlier = self.commits()
        done = next((commit for commit in earlier if commit.step == step), None)
        if done is not None:
            return done
        number = earlier[-1].number + 1 if earlier else 1
        files = [self._write(part, number, group) for part, group in self._partition(rows).items()]
        return self._publish(Commit(number, step, tuple(files), cursor))

    def up_to(self, step: str | None) -> list[Commit]:
        """Commits up to and including that of a step; all of them for None or a step that is not there."""
        commits = self.commits()
        last = next((commit.number for commit in commits if commit.step == step), None)
        return [commit for commit in commits if last is None or commit.number <= last]

    def read(self, step: str | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return every column of the rows committed up to a step, in commit order; {} if there are none.

        Raises EvidenceError naming the first file that is missing, truncated or changed.
        """
        tables = [self._read(name, digest) for commit in self.up_to(step) for name, digest, _ in commit.files]
        if not tables:
            return {}
        table = pa.concat_tables(tables, promote_options="permissive")
        return {name: _to_numpy(table[name]) for name in table.column_names}

    def digest(self, step: str | None = None) -> str:
        """SHA-256 over the digests of the files committed up to a step, in order."""
        lines = "".join(f"{name} {digest}\n" for commit in self.up_to(step) for name, digest, _ in commit.files)
        return hashlib.sha256(lines.encode()).hexdigest()

    def _partition(self, rows: Sequence[Row]) -> dict[Path, list[Row]]:
        groups: dict[Path, list[Row]] = defaultdict(list)
        for row in rows:
            day = datetime.fromtimestamp(row[self._time_column] / NS_PER_S, UTC).date()
            part = Path(f"date={day.isoformat()}")
            groups[part / f"symbol={row['symbol']}" if "symbol" in row else part].append(row)
        return dict(sorted(groups.items()))

    def _write(self, part: Path, number: int, rows: list[Row]) -> tuple[str, str, int]:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer, compression="zstd", write_page_checksum=True)
        raw = buffer.getvalue()
        name = part / f"part-{number:06d}.parquet"
        write_durably(self._folder / name, raw)
        return str(name), hashlib.sha256(raw).hexdigest(), len(rows)

    def _publish(self, commit: Commit) -> Commit:
        self._manifests.mkdir(parents=True, exist_ok=True)
        target = self._manifests / f"{commit.number:06d}.json"
        plain = {"step": commit.step, "files": [list(file) for file in commit.files], "cursor": commit.cursor}
        draft = target.with_suffix(f".draft-{os.getpid()}")
        write_durably(draft, json.dumps(plain, sort_keys=True, indent=1).encode())
        try:
            os.link(draft, target)
        except FileExistsError as error:
            raise EvidenceError(f"{target}: another process committed at the same time; run the step again") from error
        finally:
            draft.unlink()
        RealDisk().sync_folder(self._manifests)
        return commit

    def _read(self, name: str, digest: str) -> pa.Table:
        path = self._folder / name
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise EvidenceError(f"{path}: evidence file is missing ({error.strerror})") from error
        if hashlib.sha256(raw).hexdigest() != digest:
            raise EvidenceError(f"{path}: evidence file is not what was committed; it was truncated or changed")
        return pq.read_table(io.BytesIO(raw), page_checksum_verification=True, partitioning=None)


def write_durably(path: Path, raw: bytes) -> None:
    """Write a file so that its name never stands for half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    RealDisk().sync_folder(path.parent)


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    if pa.types.is_list(column.type):
        return _rows_of_lists(column.combine_chunks())
    if column.null_count and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.asarray(column.cast(pa.float64()).to_numpy())
    return np.asarray(column.to_numpy())


def _rows_of_lists(column: pa.ListArray) -> np.ndarray[Any, Any]:
    """Lists of one length as a matrix, one row each; of several lengths as objects."""
    lengths = np.diff(column.offsets.to_numpy())
    if column.null_count == 0 and len(lengths) and (lengths == lengths[0]).all():
        return np.asarray(column.flatten().to_numpy()).reshape(len(column), lengths[0])
    values = np.empty(len(column), dtype=object)
    values[:] = [np.asarray(item) for item in column.to_pylist()]
    return values
