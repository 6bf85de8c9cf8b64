"""The API's JSON of any shape, as a table or as text."""

import json
from dataclasses import dataclass, field
from html import escape

from django.utils.safestring import SafeString, mark_safe

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

    def head_html(self) -> SafeString:
        """The names of the columns, as `<th>`."""
        cells = zip(self._classes(), self.columns, strict=True)
        return mark_safe("".join(f'<th scope="col"{kind}>{escape(name)}</th>' for kind, name in cells))  # noqa: S308  # escaped

    def rows_html(self) -> SafeString:
        """The rows, as `<tr>`. A template with a loop over the cells takes ten times as long."""
        first, *others = self._classes()
        starts = [f'<th scope="row"{first}>', *(f"<td{kind}>" for kind in others)]
        ends = ["</th>", *["</td>"] * len(others)]
        rows = (zip(starts, row, ends, strict=True) for row in self.rows)
        lines = ("".join([start + escape(cell) + end for start, cell, end in row]) for row in rows)
        return mark_safe("".join([f"<tr>{line}</tr>\n" for line in lines]))  # noqa: S308  # escaped

    def _classes(self) -> list[str]:
        """An attribute for each column. Numbers are aligned to the right."""
        return [' class="number"' if is_number else "" for is_number in self.numeric]


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
