"""Paths of urls and the patterns that `like` compares them with, for the oracle: letter by letter."""

from __future__ import annotations

import string

_SCHEME = frozenset(string.ascii_letters + string.digits + "+.-")


def path_of(url: str) -> str:
    """The path, without scheme, host, query and fragment; `/` where it is empty."""
    for mark in "?#":
        url = url.partition(mark)[0]
    scheme, colon, rest = url.partition(":")
    if colon and scheme and scheme[0] in string.ascii_letters and all(letter in _SCHEME for letter in scheme):
        url = rest
    if url.startswith("//"):
        url = "/".join(["", *url[2:].split("/")[1:]]) if "/" in url[2:] else ""
    return url or "/"


def is_like(path: str, pattern: str) -> bool:
    """Whether the pattern stands for the whole path: `*` for letters but `/`, `**` for any."""
    # Where in the path the letters may end that the pattern so far stands for.
    ends = {0}
    at = 0
    while at < len(pattern):
        if pattern.startswith("**", at):
            ends = set(range(min(ends), len(path) + 1)) if ends else ends
            at += 2
            continue
        if pattern[at] == "*":
            reached = set(ends)
            for end in ends:
                while end < len(path) and path[end] != "/":
                    end += 1
                    reached.add(end)
            ends = reached
        else:
            ends = {end + 1 for end in ends if end < len(path) and path[end] == pattern[at]}
        at += 1
    return len(path) in ends
