"""The tour of README.md, from its first line to its last: commands in this process, the server as real processes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from segidx.testing.served import Served

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TOUR = README.partition("## A tour in five minutes")[2].partition("\n## ")[0]
ADDRESS = "127.0.0.1:50051"
# The tour says what columns this file may have, and leaves it to the reader.
VISITS = """\
event_id,contact_id,time,url,referrer,dwell
v-1,anna,2026-11-20T10:05:00Z,https://shop.example/sale/shoes?utm_medium=email,,75
v-2,bert,2026-11-20T10:06:00Z,https://shop.example/sale/hats,https://www.google.com/,61.5
"""


def steps() -> Iterator[tuple[str, str]]:
    """(python, a block), (file, its name and text) or (segidx, its arguments), in their order. The events are of
    yesterday, whenever that is."""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    yield "file", "visits.csv\n" + re.sub(r"2026-11-\d\d(?=T)", yesterday, VISITS)
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", TOUR, re.MULTILINE | re.DOTALL):
        if language == "python":
            yield "python", block
            continue
        for name, text, command in re.findall(
            r"^\$ cat > (\S+) <<'\.'\n(.*?)^\.$|^\$ segidx ([^\n]*)$", block, re.MULTILINE | re.DOTALL
        ):
            if name:
                yield "file", name + "\n" + re.sub(r"2026-11-\d\d(?=T)", yesterday, text)
            else:
                yield "segidx", command


def test_the_tour(segidx, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said: dict[str, str] = {}
    names: dict[str, object] = {}
    served = None
    try:
        for kind, text in steps():
            if kind == "file":
                name, _, rows = text.partition("\n")
                Path(name).write_text(rows, encoding="utf-8")
            elif kind == "python":
                assert served is not None
                exec(compile(text.replace(ADDRESS, served.address), "README.md", "exec"), names)
            elif text.startswith("serve "):
                served = Served(tmp_path / "data", tmp_path / "log")
            else:
                arguments = shlex.split(text, comments=True)
                address = served.address if served is not None else ""
                found = segidx(*(address if each == ADDRESS else each for each in arguments))
                assert (found.code, found.err) == (0, ""), text
                said[" ".join(arguments)] = found.out
    finally:
        if served is not None:
            served.end()
    assert len(said) >= 20
    assert '{"count": 2, ' in said["count score >= 7 --data ./data --json"]
    assert "0 refused" in said["import contacts people.csv --data ./data --id id --field tags=tags"]
    assert said["verify --data ./data"].startswith("sound")
    assert said[next(text for text in said if text.startswith("count did(line where product"))] == "1\n"
    assert {"account", "database"} <= set(names)  # over gRPC, and embedded
