"""What the fixtures hold, worked out in plain Python from the rows they were made of, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from make_fixture import CONTACTS, fields_of

from segidx.database import Account

ZONE = ZoneInfo("Europe/Warsaw")
Row = Mapping[str, Any]


def rows() -> dict[str, dict[str, Any]]:
    """What the fixture holds, after its three changes."""
    found: dict[str, dict[str, Any]] = {f"contact-{i}": fields_of(i) for i in range(CONTACTS)}
    found["contact-0"] |= {"country": "FR"}
    del found["contact-0"]["spent"]
    found["kontakt ż"] = {"email": "ż@example.com"}
    for name in ("contact-0", "contact-1"):
        found[name]["tags"] = (found[name]["tags"] | {"late"}) - {"third-1"}
    return found


def rows_with_log() -> dict[str, dict[str, Any]]:
    """What the fixtures since format 2 hold: those rows, and the batch in the log."""
    found = rows()
    found["contact-3"] |= {"country": "NO", "spent": Decimal("77.77"), "email": "new@example.com"}
    found["contact-3"].pop("visits", None)
    found["contact-4"]["tags"] = (found["contact-4"]["tags"] | {"nowy"}) - {"all"}
    found["in the log"] = {"country": "PL", "born": date(2000, 2, 29), "consent": True}
    return found


# Each condition with what it means of a contact's fields.
CONDITIONS: list[tuple[str, Callable[[Row], bool]]] = [
    ("everyone", lambda f: True),
    ('tags has "all"', lambda f: "all" in f.get("tags", ())),
    ('tags has any ("third-1", "late")', lambda f: bool({"third-1", "late"} & f.get("tags", set()))),
    ('tags has none ("third-0")', lambda f: "third-0" not in f.get("tags", ())),
    ('interests has "żagle"', lambda f: "interests" in f),
    ("interests is not set", lambda f: "interests" not in f),
    ('country = "Österreich"', lambda f: f.get("country") == "Österreich"),
    ('country != "PL"', lambda f: f.get("country") != "PL"),
    ('country in ("FR", "DE")', lambda f: f.get("country") in ("FR", "DE")),
    ("spent >= 0", lambda f: f.get("spent", -1) >= 0),
    ("spent between -5.5 and 12.34", lambda f: Decimal("-5.5") <= f.get("spent", 999) <= Decimal("12.34")),
    ("not spent < 100", lambda f: not f.get("spent", 999) < 100),
    ("visits > 1000000000000100", lambda f: f.get("visits", 0) > 10**15 + 100),
    ("spent * 2 > visits - 1000000000000000", lambda f: f.get("spent", -9999) * 2 > f.get("visits", 10**30) - 10**15),
    (
        "seen >= 2024-03-31T12:30:00.250Z",
        lambda f: "seen" in f and f["seen"] >= datetime(2024, 3, 31, 12, 30, 0, 250_000, UTC),
    ),
    ("seen = 2024-04-01", lambda f: "seen" in f and f["seen"].astimezone(ZONE).date() == date(2024, 4, 1)),
    ("born before 1950-06-15", lambda f: f.get("born", date.max) < date(1950, 6, 15)),
    ("born is set", lambda f: "born" in f),
    ("consent", lambda f: f.get("consent") is True),
    ("consent = false", lambda f: f.get("consent") is False),
    ("not consent", lambda f: f.get("consent") is not True),
    ('email = "łódź@example.com"', lambda f: f.get("email") == "łódź@example.com"),
    ('email = "user4@example.com"', lambda f: f.get("email") == "user4@example.com"),
    ('email contains ci "ŁÓDŹ"', lambda f: "łódź" in f.get("email", "")),
    ('email starts with "user1"', lambda f: f.get("email", "").startswith("user1")),
    ('email matches "r[0-9]*2@"', lambda f: f.get("email", "").endswith("2@example.com")),
]


def stored_files(fixture: Path) -> list[str]:
    """The files of a directory, by their paths in it."""
    return sorted(str(path.relative_to(fixture)) for path in fixture.rglob("*") if path.is_file())


def check(account: Account, held: Mapping[str, Row]) -> None:
    for text, meaning in CONDITIONS:
        wanted = [contact_id for contact_id, fields in held.items() if meaning(fields)]
        assert wanted, f"{text} should hold for somebody"
        assert account.count(text).count == len(wanted), text
        preview = account.preview(text, fields=[], limit=1000)
        assert [contact.contact_id for contact in preview.contacts] == wanted, text
