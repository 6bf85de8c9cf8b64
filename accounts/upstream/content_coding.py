"""Compressed bodies (Content-Encoding): one that is cut short ends with an error, as any other body does.

urllib3 takes what it could decompress for the whole body, if the HTTP message around it is complete.
"""

import zlib
from typing import Any

from urllib3.exceptions import ProtocolError
from urllib3.response import (
    ContentDecoder,
    DeflateDecoder,
    GzipDecoder,
    GzipDecoderState,
    HTTPResponse,
    MultiDecoder,
)
from urllib3.util.response import is_fp_closed

_PIECE_BYTES = 64 * 1024


class CompressedBodyCutShort(ProtocolError):
    """The HTTP message is complete, and the compressed body in it is not."""


class CompressedResponse(HTTPResponse):
    """A response whose reading raises CompressedBodyCutShort at the end of a compressed body that is cut short."""

    def _init_decoder(self) -> None:
        if not self._decoder_initialized:
            super()._init_decoder()
            # The body of a 206 is a part of a compressed one.
            if self._decoder and self.status != 206:
                self._decoder = _StrictDecoder(self._decoder)

    def read(self, amt: int | None = None, decode_content: bool | None = None, cache_content: bool = False) -> bytes:
        data = super().read(amt, decode_content, cache_content)
        # All other ways to read flush the decoder at the end of the body.
        if amt and self._decoder and self._has_decoded_content and is_fp_closed(self._fp) and not self._is_left():
            self._decoder.flush()
        return data

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        data = super().read1(amt, decode_content)
        if not (self.decode_content if decode_content is None else decode_content):
            self._follow(data)
        return data

    def _follow(self, data: bytes) -> None:
        """Look for the end of a body that is passed on compressed. Browsers take a body that is cut short for whole."""
        self._init_decoder()
        if self._decoder is None:
            return
        try:
            self._decoder.decompress(data, max_length=_PIECE_BYTES)
            while self._decoder.has_unconsumed_tail:
                self._decoder.decompress(b"", max_length=_PIECE_BYTES)
        except self.DECODER_ERROR_CLASSES:
            # The browser will see that, too.
            self._decoder = None
        else:
            if not data or is_fp_closed(self._fp):
                self._decoder.flush()

    def _is_left(self) -> bool:
        """Whether there is decoded or received data that the caller has not read."""
        return bool(self._decoded_buffer) or (self._decoder is not None and self._decoder.has_unconsumed_tail)


class _StrictDecoder(ContentDecoder):
    def __init__(self, decoder: ContentDecoder) -> None:
        self._decoder = decoder
        #: A body of no bytes is complete in every coding: the response to HEAD, a 204, a 304.
        self._is_empty = True

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        self._is_empty = self._is_empty and not data
        return self._decoder.decompress(data, max_length=max_length)

    @property
    def has_unconsumed_tail(self) -> bool:
        return self._decoder.has_unconsumed_tail

    def flush(self) -> bytes:
        if self._is_empty:
            return b""
        rest = self._decoder.flush()
        if not _has_ended(self._decoder):
            raise CompressedBodyCutShort("the compressed body is cut short")
        return rest


def _has_ended(decoder: Any) -> bool:
    """Whether the compressed data is complete. Bytes after its end do not matter, as for urllib3."""
    if isinstance(decoder, MultiDecoder):
        return all(_has_ended(link) for link in decoder._decoders)
    if isinstance(decoder, DeflateDecoder):
        return bool(decoder._obj.eof)
    if isinstance(decoder, GzipDecoder) and decoder._state != GzipDecoderState.SWALLOW_DATA:
        return decoder._obj.eof or (decoder._state == GzipDecoderState.OTHER_MEMBERS and _has_stray_byte(decoder._obj))
    # Zstandard's decoder raises an error by itself.
    return True


def _has_stray_byte(member: Any) -> bool:
    """Whether zlib has seen one byte that begins no member of gzip. It looks at two at a time."""
    try:
        member.copy().decompress(b"\x8b")
    except zlib.error as error:
        return "incorrect header" in str(error)
    return False
