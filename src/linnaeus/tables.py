"""Tables on disk: CSV, Parquet and JSON lines, chosen by the file's ending, written row group by row group."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from linnaeus.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

ENDINGS = (".csv", ".parquet", ".jsonl")


class _Sink(Protocol):
    def write(self, table: pa.Table) -> Any: ...
    def close(self) -> None: ...


class TableWriter:
    """Write a table piece by piece; the file appears under its name only when it is whole.

    Args:
        path: Ends in .csv, .parquet or .jsonl.
        truths: Columns of truth values: the first piece may not tell, if all of its values are missing.

    Raises:
        SettingsError: Another ending.
    """

    def __init__(self, path: Path, truths: Collection[str] = ()) -> None:
        if path.suffix not in ENDINGS:
            raise SettingsError(f"{path} should end in one of {', '.join(ENDINGS)}.", fix=f"{path.stem}.csv")
        self.path, self._truths = path, truths
        self._unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._sink: _Sink | None = None
        self._schema: pa.Schema | None = None

    def write(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows, given as equally long columns; every call has the same columns.

        Raises:
            ValueError: The columns are others than at first, or values do not fit into them.
        """
        import pyarrow as pa

        table = pa.Table.from_arrays([_column(values) for values in columns.values()], names=list(columns))
        if self._sink is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._schema = pa.schema([self._typed(field) for field in table.schema])
            self._sink = _open(self._unfinished, self.path.suffix, self._schema)
        # pyarrow's writer of CSV does not look whether a table has the columns of the first one: it reads past their end.
        self._sink.write(table.cast(self._schema))

    def _typed(self, field: pa.Field) -> pa.Field:
        """Give a column without any value yet its type: truth values or numbers, since words that are missing are ""."""
        import pyarrow as pa

        if not pa.types.is_null(field.type):
            return field
        return field.with_type(pa.bool_() if field.name in self._truths else pa.float64())

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._sink is not None:
            self._sink.close()
            os.replace(self._unfinished, self.path)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._sink is not None:
            self._sink.close()
            self._unfinished.unlink(missing_ok=True)


def _column(values: Sequence[Any] | np.ndarray) -> pa.Array:
    """Make a column of words, numbers or truth values, of which some may be missing.

    `pa.array` asks whether the values are of pandas, and for that imports it where it is installed, which takes longer
    than predicting a hundred pictures. So plain values go around it.
    """
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.dtype in (np.float64, np.int64):
        numbers = np.ascontiguousarray(values)
        return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), len(numbers), [None, pa.py_buffer(numbers)])
    given = values
    kinds = {type(one) for one in given} - {type(None)}
    if len(kinds) != 1 or not kinds <= {str, float, int, bool}:
        return pa.array(values)
    (kind,), N, there = kinds, len(given), None
    if any(one is None for one in given):
        there = pa.py_buffer(np.packbits([one is not None for one in given], bitorder="little"))
    if kind is str:
        words = [(one or "").encode() for one in given]
        ends = np.cumsum([0, *map(len, words)])
        if ends[-1] >= 2**31:
            return pa.array(values)
        return pa.Array.from_buffers(pa.string(), N, [there, *map(pa.py_buffer, (ends.astype("i4"), b"".join(words)))])
    if kind is bool:
        bits = np.packbits([bool(one) for one in given], bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), N, [there, pa.py_buffer(bits)])
    numbers = np.array([0 if one is None else one for one in given], np.float64 if kind is float else np.int64)
    return pa.Array.from_buffers(pa.from_numpy_dtype(numbers.dtype), N, [there, pa.py_buffer(numbers)])


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, table: pa.Table) -> None:
        import json

        for row in table.to_pylist():
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


def _open(path: Path, suffix: str, schema: pa.Schema) -> _Sink:
    if suffix == ".parquet":
        import pyarrow.parquet

        # Columns of numbers have no dictionary: few repeat, and each of ten thousand would hold a page in memory.
        words = [one.name for one in schema if str(one.type) == "string"]
        return pyarrow.parquet.ParquetWriter(path, schema, use_dictionary=words)
    if suffix == ".csv":
        import pyarrow.csv

        return pyarrow.csv.CSVWriter(path, schema, write_options=pyarrow.csv.WriteOptions(quoting_style="needed"))
    return _JsonLines(path)


def write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write one whole table."""
    with TableWriter(path) as writer:
        writer.write(columns)


def read_table(path: Path, text: Sequence[str] = ()) -> dict[str, Any]:
    """Read a table written by `write_table`: column name -> numpy array, or list for the columns named in `text`."""
    if path.suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
    else:
        import pyarrow as pa
        import pyarrow.csv

        kinds = dict.fromkeys(text, pa.string())
        table = pyarrow.csv.read_csv(
            path,
            convert_options=pyarrow.csv.ConvertOptions(column_types=kinds, strings_can_be_null=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        )
    return {
        name: column.to_pylist() if name in text else column.to_numpy()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
