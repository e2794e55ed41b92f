"""The embedded API: open a data directory, count segments, write contacts, in process.

    with Database.open("data", create=True) as database:
        account = database.account("default")
        account.update_schema([Field("country", FieldType.CATEGORY)])
        account.upsert([("anna", {"country": "PL"})])
        account.count('country = "PL"').count

The gRPC service stands on this, and `segidx.client` offers the same calls on a server. One writing process a
directory; any number of reading ones. `Account` is made of rooms, a base class each: `reading`, `declaring`, `writing`,
`importing`, `maintenance` and `following`.
"""

from segidx.database.account import Account
from segidx.database.database import Database
from segidx.database.opened import Clock, system_clock
from segidx.database.reading import MAX_PREVIEW, MAX_PRODUCTS, MAX_SUGGESTIONS

__all__ = ["MAX_PREVIEW", "MAX_PRODUCTS", "MAX_SUGGESTIONS", "Account", "Clock", "Database", "system_clock"]
