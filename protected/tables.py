"""The API's JSON of any shape, as a table or as text."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from accounts.exceptions import ApiMisbehaved

#: A larger table is shown as text: the cells of rows without common columns grow with the square of the rows.
MAX_CELLS = 100_000
#: Longer text is not indented: indenting deeply nested data makes it hundreds of times as long.
MAX_INDENTED = 10_000


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows if the data has that shape; otherwise `text`. `numeric` has True for a column of numbers."""

    columns: list[str]
    rows: list[list[str]]
    text: str = ""
    numeric: list[bool] = field(default_factory=list)

    def aligned_columns(self) -> Iterator[tuple[str, bool]]:
        """The name of each column, and whether it holds numbers."""
        return zip(self.columns, self.numeric, strict=True)

    def aligned_rows(self) -> Iterator[Iterator[tuple[str, bool]]]:
        """The cells of each row, and whether their column holds numbers."""
        return (zip(row, self.numeric, strict=True) for row in self.rows)


def as_table(body: object) -> Table:
    """The `data` of a response's JSON, or the whole JSON. A list of objects becomes a table, anything else text.

    Raises ApiMisbehaved if the data is nested too deep.
    """
    data = body.get("data", body) if isinstance(body, dict) else body
    try:
        if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
            columns = list(dict.fromkeys(str(key) for row in data for key in row))
            if len(columns) * len(data) <= MAX_CELLS:
                return Table(
                    columns=[_printable(column) for column in columns],
                    rows=[[_cell(row.get(column)) for column in columns] for row in data],
                    numeric=[_is_numeric([row.get(column) for row in data]) for column in columns],
                )
        return Table(columns=[], rows=[], text=_printable(data if isinstance(data, str) else _as_text(data)))
    except RecursionError as error:
        raise ApiMisbehaved("the API's data is nested too deep to be shown") from error


def _as_text(data: object) -> str:
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) > MAX_INDENTED else json.dumps(data, indent=2, ensure_ascii=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return _printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _is_numeric(values: list[object]) -> bool:
    """Whether all values that are not null are numbers, and at least one is."""
    kinds = {type(value) for value in values} - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def _printable(text: str) -> str:
    """`text` without lone surrogates, which JSON can contain and UTF-8 cannot."""
    return text.encode(errors="replace").decode()
