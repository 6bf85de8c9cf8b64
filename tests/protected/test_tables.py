"""The API's data as a table or as text, whatever its shape."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from accounts.exceptions import ApiMisbehaved
from protected.tables import MAX_CELLS, Table, as_table

#: Python 3.12 parses and writes far deeper JSON than its recursion limit says.
DEEPER_THAN_ANY_PYTHON_GOES = 100_000

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside, max_size=4),
    max_leaves=12,
)
rows = st.lists(st.dictionaries(st.text(max_size=3), anything, max_size=4), min_size=1, max_size=4)


class TestTable:
    def test_a_list_of_objects_is_one(self) -> None:
        body = {"data": [{"place": "Brest", "height": 7.4}, {"place": "Saint-Malo", "height": 12}]}

        assert as_table(body) == Table(
            columns=["place", "height"],
            rows=[["Brest", "7.4"], ["Saint-Malo", "12"]],
            text="",
            numeric=[False, True],
        )

    def test_without_data_the_whole_answer_counts(self) -> None:
        assert as_table([{"a": 1}]) == Table(columns=["a"], rows=[["1"]], numeric=[True])

    def test_columns_stand_in_the_order_in_which_they_appear_and_gaps_are_empty(self) -> None:
        table = as_table({"data": [{"b": 1, "a": 2}, {"c": 3, "a": 4}, {}]})

        assert table.columns == ["b", "a", "c"]
        assert table.rows == [["1", "2", ""], ["", "4", "3"], ["", "", ""]]

    @pytest.mark.parametrize(
        ("value", "cell"),
        [
            ("text", "text"),
            ("", ""),
            ("<b>王</b>", "<b>王</b>"),
            (None, ""),
            (True, "true"),
            (False, "false"),
            (0, "0"),
            (1.5, "1.5"),
            (10**30, "1" + "0" * 30),
            ([1, "é"], '[1, "é"]'),
            ({"deep": {"er": None}}, '{"deep": {"er": null}}'),
        ],
        ids=repr,
    )
    def test_a_cell_reads_as_the_api_wrote_it(self, value: object, cell: str) -> None:
        assert as_table({"data": [{"column": value}]}).rows == [[cell]]

    @pytest.mark.parametrize(
        ("values", "is_numeric"),
        [([1, 2.5, None], True), ([1, "2"], False), ([True], False), ([None, None], False), ([1, {}], False)],
        ids=repr,
    )
    def test_a_column_of_numbers_is_known_as_one(self, values: list[object], is_numeric: bool) -> None:
        assert as_table([{"column": value} for value in values]).numeric == [is_numeric]

    @effort(deadline=None, max_examples=75)
    @given(data=rows)
    def test_every_row_has_a_cell_for_every_column(self, data: list[dict[str, Any]]) -> None:
        table = as_table({"data": data})

        assert len(table.rows) == len(data)
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert len(table.columns) == len({key for row in data for key in row})
        assert table.text == ""


class TestText:
    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({"data": "High water at noon."}, "High water at noon."),
            ({"data": ""}, ""),
            ({"data": None}, "null"),
            ({"data": []}, "[]"),
            ({"data": {}}, "{}"),
            ({"data": 7}, "7"),
            ({"data": [1, 2]}, "[\n  1,\n  2\n]"),
            ({"data": [{"a": 1}, "no object"]}, '[\n  {\n    "a": 1\n  },\n  "no object"\n]'),
            ({"message": "hello"}, '{\n  "message": "hello"\n}'),
            ("hello", "hello"),
            (None, "null"),
            ([], "[]"),
        ],
        ids=repr,
    )
    def test_anything_else_is_text(self, body: object, text: str) -> None:
        assert as_table(body) == Table(columns=[], rows=[], text=text)

    def test_it_reads_as_the_api_wrote_it_in_any_script(self) -> None:
        assert as_table({"data": {"port": "Hafen Wörth", "name": "王"}}).text == (
            '{\n  "port": "Hafen Wörth",\n  "name": "王"\n}'
        )


@effort(deadline=None, max_examples=150)
@given(body=anything | st.fixed_dictionaries({"data": anything | rows}))
def test_whatever_comes_a_page_can_carry_it(body: object) -> None:
    # By way of JSON, which can spell lone surrogates, NaN and infinity.
    table = as_table(json.loads(json.dumps(body)))

    for text in (*table.columns, *(cell for row in table.rows for cell in row), table.text):
        text.encode()


@pytest.mark.parametrize("depth", [100, 500])
def test_depth_does_no_harm(depth: int) -> None:
    deep = json.loads("[" * depth + "]" * depth)

    assert as_table({"data": deep}).text.count("[") == depth
    assert as_table({"data": [{"deep": deep}]}).rows == [["[" * depth + "]" * depth]]


class TestLimits:
    def test_rows_that_have_no_column_in_common_are_no_table(self) -> None:
        rows = [{str(number): number} for number in range(1000)]

        table = as_table({"data": rows})

        assert table.rows == []
        assert json.loads(table.text) == rows

    def test_a_table_may_be_long(self) -> None:
        assert len(as_table([{"a": 1}] * MAX_CELLS).rows) == MAX_CELLS

    def test_what_is_nested_deep_does_not_grow_beyond_measure(self) -> None:
        deep = json.loads("[" * 300 + "]" * 300)

        table = as_table({"data": [deep] * 1000})

        assert len(table.text) < 1_000_000

    @pytest.mark.parametrize("rows", [False, True], ids=["as text", "in a cell"])
    def test_what_is_nested_too_deep_cannot_be_shown(self, rows: bool) -> None:
        deep: object = []
        for _ in range(DEEPER_THAN_ANY_PYTHON_GOES):
            deep = [deep]

        with pytest.raises(ApiMisbehaved, match="too deep"):
            as_table([{"deep": deep}] if rows else deep)


class TestHtml:
    def test_numbers_have_a_class_and_the_first_cell_names_its_row(self) -> None:
        table = as_table([{"pier": "north", "metres": 2.5}, {"pier": "south"}])

        assert table.head_html() == '<th scope="col">pier</th><th scope="col" class="number">metres</th>'
        assert table.rows_html() == (
            '<tr><th scope="row">north</th><td class="number">2.5</td></tr>\n'
            '<tr><th scope="row">south</th><td class="number"></td></tr>\n'
        )

    def test_the_names_and_the_cells_are_escaped(self) -> None:
        table = as_table([{"<a>": "<b>&\"'{}", "c": {"<d>": "</td>"}}])

        assert table.head_html() == '<th scope="col">&lt;a&gt;</th><th scope="col">c</th>'
        assert table.rows_html() == (
            '<tr><th scope="row">&lt;b&gt;&amp;&quot;&#x27;{}</th>'
            "<td>{&quot;&lt;d&gt;&quot;: &quot;&lt;/td&gt;&quot;}</td></tr>\n"
        )
