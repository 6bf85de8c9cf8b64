"""The API's data, made ready to be shown, whatever its shape."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns where the data has that shape; else `text`."""

    columns: list[str]
    rows: list[list[str]]
    text: str = ""


def as_table(body: object) -> Table:
    """The `data` of an answer's JSON (or all of it): a list of objects is a table, anything else is text."""
    data = body.get("data", body) if isinstance(body, dict) else body
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        columns = list(dict.fromkeys(str(key) for row in data for key in row))
        return Table(
            columns=[_printable(column) for column in columns],
            rows=[[_cell(row.get(column)) for column in columns] for row in data],
        )
    text = data if isinstance(data, str) else json.dumps(data, indent=2, ensure_ascii=False)
    return Table(columns=[], rows=[], text=_printable(text))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return _printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _printable(text: str) -> str:
    """`text` without lone surrogates: JSON can spell them, and no page can carry them."""
    return text.encode(errors="replace").decode()
