"""Recognises the type of a download by its first and last bytes."""

from __future__ import annotations

from include.dsar.errors import ProtocolError
from include.dsar.http.client import Sink

ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")  # a file; the directory of an empty zip
ZIP_ENDS = b"PK\x05\x06"
TAIL = 22 + 0xFFFF  # bytes: the end of a zip's directory with the longest possible comment
HEAD = 256
WEB_PAGES = (b"<!doctype html", b"<html")


class CheckedDownload:
    """Passes a download on, and keeps its first and last bytes.

    A broken file inside a zip is delivered to the data subject unchanged. A web page or an incomplete zip
    is refused.
    """

    def __init__(self, target: Sink) -> None:
        self._target = target
        self._head = self._tail = b""

    def write(self, data: bytes, /) -> None:
        self._target.write(data)
        self._head = (self._head + data[:HEAD])[:HEAD]
        self._tail = (self._tail + data)[-TAIL:]

    def suffix(self) -> str:
        """Returns the suffix for the file's name: `.zip`, `.json` or `.txt`.

        Raises ProtocolError if the download is empty, a web page, or only the beginning of a zip.
        """
        if self._head.startswith(ZIP_BEGINS):
            if ZIP_ENDS not in self._tail:
                raise ProtocolError("the result is not a zip file, or it is cut off")
            return ".zip"
        text = self._head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not text or text.lower().startswith(WEB_PAGES):
            raise ProtocolError("the result is empty or a web page")
        return ".json" if text[:1] in (b"{", b"[") else ".txt"
