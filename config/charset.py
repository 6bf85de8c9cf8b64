"""Requests that Django can read with any Content-Type."""

from collections.abc import Mapping
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http.multipartparser import MultiPartParserError
from django.http.request import HttpRequest, QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.http import parse_header_parameters


class _Utf8(HttpRequest):
    """Decodes forms and queries as UTF-8, whatever charset the Content-Type names.

    Django decodes the query with that charset while it creates the request. Some codecs (undefined, idna, hex) fail
    then, where no error becomes a response; utf-7 produces lone surrogates, which no page can contain.
    """

    def __repr__(self) -> str:
        """Without the query, because handlers of logs may write it."""
        return f"<{type(self).__name__}: {self.method} {self.path!r}>"

    def _set_content_type_params(self, meta: Mapping[str, str]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except (TypeError, ValueError):
            # The parameters are broken, or in an unknown charset (RFC 2231), so the type is unknown too.
            self.content_type, self.content_params = "", {}

    def parse_file_upload(
        self, META: Mapping[str, Any], post_data: Any
    ) -> "tuple[QueryDict, MultiValueDict[str, UploadedFile[Any]]]":
        """Raises MultiPartParserError for a broken head of a part, too, where Django expects only a ValueError."""
        try:
            return super().parse_file_upload(META, post_data)
        except TypeError as error:
            raise MultiPartParserError("the head of a part of the form cannot be read") from error


class Utf8WSGIRequest(_Utf8, WSGIRequest):
    pass


class Utf8ASGIRequest(_Utf8, ASGIRequest):
    pass
