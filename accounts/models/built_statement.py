"""A statement that Django builds once, and that runs with other values each time.

To build the SQL of a rotation's statements takes Django several times as long as to run it.
"""

from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.models import Expression, Field, QuerySet
from django.db.models.sql import UpdateQuery


class Parameter(Expression):
    """Stands for a value that is not known yet. `output_field` says how the database wants it."""

    def __init__(self, name: str, output_field: "Field[Any, Any]") -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]


class BuiltStatement:
    """The statement that `build` describes: from all rows and a Parameter for each of `fields`.

    `build` returns the row to look for; or the row to change and its new values.
    """

    def __init__(
        self,
        build: "Callable[..., QuerySet[Any] | tuple[QuerySet[Any], dict[str, Any]]]",
        **fields: "Field[Any, Any]",
    ) -> None:
        self._build = build
        self._parameters = {name: Parameter(name, field) for name, field in fields.items()}
        # By the alias of the database.
        self._built: dict[str, tuple[str, list[Any]]] = {}

    def run(self, rows: "QuerySet[Any]", using: str, **values: Any) -> bool:
        """Run it in the database `using`, where `rows` are all rows of the table.

        Returns whether it found or changed the row. Raises DatabaseError.
        """
        connection = connections[using]
        if using not in self._built:
            self._built[using] = self._to_sql(rows, using)
        sql, parameters = self._built[using]
        prepared = [
            one.output_field.get_db_prep_save(values[one.name], connection) if isinstance(one, Parameter) else one
            for one in parameters
        ]
        with connection.cursor() as cursor:
            cursor.execute(sql, prepared)
            return bool(cursor.rowcount if cursor.description is None else cursor.fetchall())

    def _to_sql(self, rows: "QuerySet[Any]", using: str) -> tuple[str, list[Any]]:
        built = self._build(rows, **self._parameters)
        if isinstance(built, QuerySet):
            sql, parameters = built.query.get_compiler(using).as_sql()
            return sql, list(parameters)
        changed, values = built
        query: Any = changed.query.chain(UpdateQuery)
        query.add_update_values(values)
        sql, parameters = query.get_compiler(using).as_sql()
        return sql, list(parameters)
