"""What the snapshots of one opened account share: what was found in the base, in what lies above it, and all that a
snapshot is opened with.

Imports the parts that are shared; knows nothing of how a snapshot uses them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from segidx.kernels.events import EventLayer
from segidx.store.catalog import Catalog, State
from segidx.store.event_orders import EventOrders
from segidx.store.overlay import Overlay, View
from segidx.store.products import ProductsCache
from segidx.store.verified import Verified

CACHE_ENTRIES = 20_000
"""What a version remembers at most, some more between two snapshots."""


class PointerCache:
    """What snapshots of one version have found; a newer version empties it.

    Versions are tuples that only grow. Pages of the base do not change while its version stays: a transaction that
    rewrites one raises the version, LMDB keeps the old page while a reader may see it, and the map never moves. So a
    pointer found by one snapshot serves every later snapshot of the same version.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version: tuple[int, ...] = ()
        self._entries: dict[object, object] = {}

    def entries(self, version: tuple[int, ...]) -> dict[object, object]:
        """The entries of that version; a fresh dictionary for one older than the newest seen."""
        with self._lock:
            if version > self._version:
                self._version, self._entries = version, {}
            elif version < self._version:
                return {}
            elif len(self._entries) > CACHE_ENTRIES:
                self._entries = {}
            return self._entries

    def clear(self) -> None:
        with self._lock:
            self._entries = {}


@dataclass(slots=True)
class Opened:
    """What a snapshot is opened with. Whatever changes it changes the stored state too, in the same transaction, so
    that later snapshots of one state take it from the first."""

    stored: bytes  # the state, as it is stored
    state: State
    view: View
    catalog: Catalog
    base: dict[object, object]  # of this version of the base
    entries: dict[object, object]  # of this version of the base, generation and schema
    size: int
    base_size: int
    # By number of the type. Of this view alone: another of its generation may have other layers, not settled yet.
    layers: dict[int, tuple[tuple[EventLayer, ...], int]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether so much was remembered that it is time to forget it."""
        return len(self.base) > CACHE_ENTRIES or len(self.entries) > CACHE_ENTRIES

    def with_view(self, view: View) -> Opened:
        """The same under another view that says the same."""
        return replace(self, view=view, layers={})


class Caches:
    """What the snapshots of one opened account share. Safe for threads."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.base = PointerCache()  # by version of the base: pointers
        self.catalogs = PointerCache()  # by version of the schema
        self.views = PointerCache()  # by version of the base, generation and schema: what lies above them
        self.products = ProductsCache()
        self.orders = EventOrders()
        self.verified = Verified()
        self._newest: Opened | None = None

    def opened(self, stored: bytes) -> Opened | None:
        """What an earlier snapshot of that state was opened with, where it is at hand."""
        found = self._newest
        if found is None or not stored or found.stored != stored or found.is_full:
            return None
        view = self.overlay.settled(found.view)
        if view is not found.view:
            found = self._newest = found.with_view(view)
        return found

    def keep(self, opened: Opened) -> None:
        """Hand it to later snapshots, unless there is a newer one."""
        newest = self._newest
        if newest is None or newest.is_full or newest.state.is_before(opened.state):
            self._newest = opened

    def clear(self) -> None:
        self._newest = None
        self.base.clear()
        self.catalogs.clear()
        self.views.clear()
        self.products.clear()
        self.orders.clear()
        self.overlay.clear()
