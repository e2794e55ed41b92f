"""What `verify` says, as tests ask for it: nothing of what is sound, a sentence for each damage."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from segidx.database import Account, Database
from segidx.model.errors import SegidxError

Damage = Callable[[Account], object]
Damages = Mapping[str, tuple[Damage, str]]
"""By name, each with a pattern of the sentence that names it."""


def by_name(groups: Mapping[str, Damages]) -> Damages:
    """The damages of all groups, each by the names of both."""
    return {f"{group}: {name}": case for group, damages in groups.items() for name, case in damages.items()}


def problems(account: Account) -> list[str]:
    """The sentences of `verify`, or of the error that refuses it."""
    try:
        return list(account.verify())
    except SegidxError as error:
        return [error.message]


def expect(account: Account, pattern: str) -> list[str]:
    """What `verify` says, with a sentence of that pattern among it."""
    return _among(problems(account), pattern)


def _among(found: list[str], pattern: str) -> list[str]:
    assert [each for each in found if re.search(pattern, each)], f"{pattern!r} is not among {found}"
    return found


def expect_opened(path: Path, damages: Damages) -> None:
    """What the writing process sees is not what it remembers: a process that opens a damaged copy of the directory, and
    has read nothing before, names the damage too, or refuses it."""
    for number, (damage, pattern) in enumerate(damages.values()):
        place = Path(shutil.copytree(path, path.parent / f"damaged {number}"))
        with Database.open(place) as database:
            damage(database.account())
        with Database.open(place, read_only=True) as database:
            try:
                found = problems(database.account())
            except SegidxError as error:  # what cannot be opened
                found = [error.message]
        _among(found, pattern)
