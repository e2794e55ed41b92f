"""What is read of a url that came from outside, whatever is wrong with it: host, path, and the parameters of the query.

`urllib.parse` is not asked for the parts: it raises on what browsers, proxies and logs really send, and compares hosts
by their spelling. Nothing here raises. Imports the model only.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_plus

from segidx.model.schema import MAX_STRING_BYTES

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_AUTHORITY = re.compile(r"[^/\\]*")
_HOSTLIKE = re.compile(r"[^\s@:]+\.[^\s@:.]+\.?(?::\d*)?")
_PLAIN_HOST = re.compile(r"[a-z0-9.\-]{1,253}")
# What nobody means at either end of a url or of a value: controls and spaces.
_SPACES = "".join(map(chr, range(33))) + "\x7f\xa0"
_LONGEST_HOST = 253  # the DNS has none that is longer, so none is looked up
_LONGEST_AUTHORITY = 1024


class Address(NamedTuple):
    """The parts of a url: the host in lower case and in Unicode, None without one; the path; the query. `app` if the
    host is an Android package."""

    host: str | None
    path: str
    query: str
    app: bool = False


NOWHERE = Address(None, "", "")


def read_url(url: str | None) -> Address:
    """The parts of a url, or of what stands in its place: a path, a host without scheme, "-" for nothing."""
    if not url:
        return NOWHERE
    rest, _, query = url.partition("#")[0].strip(_SPACES).partition("?")
    if rest.startswith(("https://", "http://")):
        name, rest = "https", rest[rest.index("/") + 2 :]
    elif rest.startswith("//"):
        name, rest = "https", rest[2:]
    elif (scheme := _SCHEME.match(rest)) and rest.startswith(("//", "\\\\"), scheme.end()):
        name, rest = scheme[1].lower(), rest[scheme.end() + 2 :]
    elif _HOSTLIKE.fullmatch(_authority(rest)):
        name = "https"
    else:
        return Address(None, rest, query)
    authority = _authority(rest)
    path = rest[len(authority) :]
    if name == "android-app":
        return Address(authority.lower() or None, path, query, app=True)
    if name not in ("http", "https"):
        return Address(None, path, query)
    return Address(read_host(authority), path, query)


def _authority(text: str) -> str:
    found = _AUTHORITY.match(text)
    return found[0] if found else ""


def read_host(authority: str) -> str | None:
    """The host of `user@host:port`, the same for every spelling of it."""
    return _read_host(authority) if len(authority) <= _LONGEST_AUTHORITY else None


# Urls differ, the hosts in them hardly.
@lru_cache(maxsize=4096)
def _read_host(authority: str) -> str | None:
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    host = host.partition(":")[0].lower()
    if not _PLAIN_HOST.fullmatch(host):
        host = unicodedata.normalize("NFKC", unquote_plus(host)).replace("\u3002", ".").lower()
    host = host.rstrip(".")
    if "xn--" in host:
        host = ".".join(_unicode_label(label) for label in host.split("."))
    return host if 0 < len(host) <= _LONGEST_HOST else None


def _unicode_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode").lower()
    except (UnicodeError, ValueError, OverflowError):
        return label


def parameters(query: str) -> dict[str, str]:
    """The value of each parameter as it stands, by its name in lower case; of repeated ones the first. Links copied out
    of HTML have "&amp;" between them."""
    found: dict[str, str] = {}
    if not query:
        return found
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if "%" in name:
            name = unquote_plus(name)
        name = name.lower()
        if name.startswith("amp;"):
            name = name[4:]
        if name not in found:
            found[name] = value
    return found


def decoded(value: str) -> str | None:
    """A parameter's value as a string that a property may have: decoded, in NFC, without spaces around it, at most
    MAX_STRING_BYTES of UTF-8. None if nothing is left."""
    text = (unquote_plus(value, errors="replace") if "%" in value or "+" in value else value).strip(_SPACES)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = text.encode("utf-8", "replace")[:MAX_STRING_BYTES].decode("utf-8", "ignore").rstrip(_SPACES)
    elif len(text) > MAX_STRING_BYTES:
        text = text[:MAX_STRING_BYTES].rstrip(_SPACES)
    return text or None
