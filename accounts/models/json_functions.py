"""SQL functions for times and JSON columns, with which a statement changes a row that it has not read."""

from typing import Any

from django.db.models import FloatField, Func, IntegerField, JSONField

#: The databases (`connection.vendor`) that these functions are written for.
VENDORS = ("sqlite", "postgresql", "mysql")


class Epoch(Func):
    """A time as seconds since the epoch."""

    arity = 1
    output_field = FloatField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "((julianday(%(expressions)s) - 2440587.5) * 86400.0)"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="EXTRACT(EPOCH FROM %(expressions)s)", **extra)

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', %(expressions)s) / 1000000)"
        return self.as_sql(compiler, connection, template=template, **extra)


class JSONLength(Func):
    """How many items a list has."""

    arity = 1
    function = "JSON_LENGTH"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, function="json_array_length", **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, function="jsonb_array_length", **extra)


class _ChangedJSON(Func):
    """A JSON column, changed by the template of the database; unchanged on a database without a template.

    The templates contain {0} for the column and {1} for the other argument.
    """

    arity = 2
    output_field = JSONField()
    templates: dict[str, str]

    def as_sql(self, compiler: Any, connection: Any, *_: Any, **extra: Any) -> Any:
        column, no_parameters = compiler.compile(self.source_expressions[0])
        template = self.templates.get(connection.vendor)
        if template is None:
            return column, no_parameters
        argument, parameters = compiler.compile(self.source_expressions[1])
        return template.format(column, argument), list(parameters)


class JSONAppend(_ChangedJSON):
    """A list with one more item. If it has `keep` items already, the first one is removed. NULL is an empty list."""

    def __init__(self, column: Any, item: Any, *, keep: int) -> None:
        super().__init__(column, item)
        self.templates = {
            "sqlite": (
                f"json_insert(CASE WHEN json_array_length({{0}}) >= {keep:d} THEN json_remove({{0}}, '$[0]')"
                " ELSE COALESCE({0}, '[]') END, '$[#]', json({1}))"
            ),
            "postgresql": (
                f"(CASE WHEN jsonb_array_length({{0}}) >= {keep:d} THEN {{0}} - 0"
                " ELSE COALESCE({0}, '[]') END || jsonb_build_array({1}))"
            ),
            "mysql": (
                f"JSON_ARRAY_APPEND(CASE WHEN JSON_LENGTH({{0}}) >= {keep:d} THEN JSON_REMOVE({{0}}, '$[0]')"
                " ELSE COALESCE({0}, JSON_ARRAY()) END, '$', JSON_EXTRACT({1}, '$'))"
            ),
        }


class JSONMerge(_ChangedJSON):
    """An object with the keys of another one, none of which is null. NULL is an empty object."""

    templates = {
        "sqlite": "json_patch(COALESCE({0}, '{{}}'), {1})",
        "postgresql": "(COALESCE({0}, '{{}}') || {1})",
        "mysql": "JSON_MERGE_PATCH(COALESCE({0}, JSON_OBJECT()), {1})",
    }
