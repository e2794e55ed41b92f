"""What an account says of where its visits and orders come from. Imports the errors of the model only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from segidx.model.errors import InvalidArgument

ORDER_MINUTES = 30
MAX_ORDER_MINUTES = 10_080  # a week
MAX_OWN_HOSTS = 1_000
_HOST = re.compile(r"(\*?\.)?[^\s/:@?#.*]+(\.[^\s/:@?#.*]+)*")


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """`order_minutes`: an order without a source takes that of its contact's last visit in so many minutes before it,
    with 0 none does. `own_hosts`: hosts of the account, beside a visit's own, from which a visit has no new source; one
    that begins with a dot stands for those below it too."""

    order_minutes: int = ORDER_MINUTES
    own_hosts: tuple[str, ...] = ()


def source_settings(order_minutes: int = ORDER_MINUTES, own_hosts: Iterable[str] = ()) -> SourceSettings:
    """The settings, each host once and in lower case. Raises InvalidArgument for what cannot be set."""
    if isinstance(order_minutes, bool) or not isinstance(order_minutes, int):
        raise InvalidArgument(f"order_minutes is a whole number, not {order_minutes!r}", setting="order_minutes")
    if not 0 <= order_minutes <= MAX_ORDER_MINUTES:
        raise InvalidArgument(
            f"order_minutes is 0 (no order takes a visit's source) to {MAX_ORDER_MINUTES}, not {order_minutes}",
            setting="order_minutes",
        )
    if isinstance(own_hosts, str):
        raise InvalidArgument("own_hosts is a list of hosts, not one string", setting="own_hosts")
    hosts = []
    for given in own_hosts:
        if not isinstance(given, str) or len(given) > 253 or not _HOST.fullmatch(given):
            raise InvalidArgument(
                f"own host {str(given)[:260]!r} is not a host such as 'shop.example', or '.shop.example' for those"
                " below it too; it has no scheme, port or path",
                setting="own_hosts",
            )
        hosts.append(given.lower())
    if len(hosts) > MAX_OWN_HOSTS:
        raise InvalidArgument(
            f"an account has at most {MAX_OWN_HOSTS} own hosts, not {len(hosts)}", setting="own_hosts"
        )
    return SourceSettings(order_minutes, tuple(dict.fromkeys(hosts)))
