"""Errors as `google.rpc.ErrorInfo` and back to the same exception class. Imports only the model and google.rpc.

An error crosses as its reason, its message, the path of its node and its metadata, so that a caller over gRPC catches
what a caller in process catches.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.rpc.error_details_pb2 import ErrorInfo

from segidx.model import errors
from segidx.model.errors import ExpressionSyntaxError, SegidxError, UnknownField

DOMAIN = "segidx"
PATH = "path"

# gRPC sends a status in HTTP/2 headers, of which clients take 8 KiB by default, and sends it twice: percent-encoded
# (up to three bytes a byte) and in base64 with the details. With these bounds the worst case stays below.
MAX_MESSAGE_BYTES = 800
MAX_PATH_BYTES = 2000
MAX_METADATA_BYTES = 160
MAX_METADATA = 6


class InternalError(SegidxError):
    """The server failed in a way that is its own fault; its log says how."""

    kind = errors.Kind.CORRUPT
    reason = "INTERNAL"


def _subclasses(base: type[SegidxError]) -> list[type[SegidxError]]:
    return [base, *(deep for direct in base.__subclasses__() for deep in _subclasses(direct))]


def error_classes() -> dict[str, type[SegidxError]]:
    """Every error class by its reason."""
    return {cls.reason: cls for cls in _subclasses(SegidxError)}


_CLASSES = error_classes()


def shorten(text: str, limit: int) -> str:
    """`text` in at most `limit` bytes of UTF-8, with an ellipsis where it was cut."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "…"


def wire_message(error: SegidxError) -> str:
    """The error's message without its path, bounded."""
    return shorten(error.message, MAX_MESSAGE_BYTES).encode("utf-8", "replace").decode()


def wire_metadata(error: SegidxError) -> dict[str, str]:
    """The error's metadata, bounded, without its path."""
    pairs = list(error.metadata.items())[:MAX_METADATA]
    return {key: shorten(value, MAX_METADATA_BYTES).encode("utf-8", "replace").decode() for key, value in pairs}


def wire_path(error: SegidxError) -> str:
    return shorten(error.path, MAX_PATH_BYTES)


def error_info(error: SegidxError) -> ErrorInfo:
    """The ErrorInfo of an error: reason, domain, metadata, the path among it."""
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=wire_metadata(error))
    if error.path:
        info.metadata[PATH] = wire_path(error)
    return info


def restore(reason: str, message: str, path: str, metadata: Mapping[str, str]) -> SegidxError:
    """The error that was sent, as the same class with the same attributes; SegidxError for an unknown reason."""
    cls = _CLASSES.get(reason, SegidxError)
    # Constructors compose messages from parts; the message is composed already.
    error = cls.__new__(cls)
    SegidxError.__init__(error, message, path=path, **metadata)
    error.reason = reason
    if isinstance(error, UnknownField):
        error.field = metadata.get("field", "")
        error.nearest = [name for name in metadata.get("nearest", "").split(",") if name]
    elif isinstance(error, ExpressionSyntaxError):
        error.line, error.column = (_number(metadata.get(key, "")) for key in ("line", "column"))
        error.expected = tuple(name for name in metadata.get("expected", "").split(", ") if name)
    return error


def restore_info(info: ErrorInfo, message: str) -> SegidxError:
    """The error of an ErrorInfo and its status message."""
    metadata = dict(info.metadata)
    return restore(info.reason, message, metadata.pop(PATH, ""), metadata)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
