"""A statement that Django builds once, and that runs with other values each time.

To build the SQL of a rotation's statements takes Django several times as long as to run it.
"""

from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.models import Expression, Field, QuerySet
from django.db.models.sql import UpdateQuery

#: The databases (`connection.vendor`) that understand UPDATE ... RETURNING.
_RETURNING_VENDORS = ("postgresql", "sqlite")


class Parameter(Expression):
    """Stands for a value that is not known yet. `output_field` says how the database wants it."""

    def __init__(self, name: str, output_field: "Field[Any, Any]") -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]


class BuiltStatement:
    """The statement that `build` describes: from all rows and a Parameter for each of `fields`.

    `build` returns the rows to read, one column of them; or the rows to change and their new values. Then `returning`
    is the column of the changed rows to read, where the database can do that.
    """

    def __init__(
        self,
        build: "Callable[..., QuerySet[Any] | tuple[QuerySet[Any], dict[str, Any]]]",
        *,
        returning: str = "",
        **fields: "Field[Any, Any]",
    ) -> None:
        self._build = build
        self._parameters = {name: Parameter(name, field) for name, field in fields.items()}
        self._returning = returning
        # By the alias of the database.
        self._built: dict[str, tuple[str, list[Any]]] = {}

    def run(self, rows: "QuerySet[Any]", using: str, **values: Any) -> tuple[int, Any]:
        """Run it in the database `using`, where `rows` are all rows of the table.

        Returns how many rows it read or changed, and the column of the first one; None if the column is not read.
        Raises DatabaseError.
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
            if cursor.description is None:
                return cursor.rowcount, None
            found = cursor.fetchall()
        return len(found), found[0][0] if found else None

    def _to_sql(self, rows: "QuerySet[Any]", using: str) -> tuple[str, list[Any]]:
        built = self._build(rows, **self._parameters)
        if isinstance(built, QuerySet):
            sql, parameters = built.query.get_compiler(using).as_sql()
            return sql, list(parameters)
        changed, values = built
        query: Any = changed.query.chain(UpdateQuery)
        query.add_update_values(values)
        sql, parameters = query.get_compiler(using).as_sql()
        connection = connections[using]
        if self._returning and connection.vendor in _RETURNING_VENDORS:
            sql += f" RETURNING {connection.ops.quote_name(self._returning)}"
        return sql, list(parameters)
