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
    """Forms of this site are in UTF-8, and queries are. A charset in the Content-Type is about the body alone.

    Django takes it for the query's, and decodes that at once, while it makes the request: in some of Python's codecs
    (undefined, idna, hex), or with too many parameters, it fails where nothing turns an error into an answer. Others
    (utf-7) make halves of surrogate pairs, which no page can carry.
    """

    def _set_content_type_params(self, meta: Mapping[str, str]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except (TypeError, ValueError):
            # Parameters in pieces that do not fit together, or in a charset that is none (RFC 2231): so is the type.
            self.content_type, self.content_params = "", {}

    def parse_file_upload(
        self, META: Mapping[str, Any], post_data: Any
    ) -> "tuple[QueryDict, MultiValueDict[str, UploadedFile[Any]]]":
        """The same in the head of a form's part, where Django expects ValueError alone. Raises MultiPartParserError."""
        try:
            return super().parse_file_upload(META, post_data)
        except TypeError as error:
            raise MultiPartParserError("a part of the form has a head that cannot be read") from error


class Utf8WSGIRequest(_Utf8, WSGIRequest):
    pass


class Utf8ASGIRequest(_Utf8, ASGIRequest):
    pass
