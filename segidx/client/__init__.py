"""The typed client: the methods of an open database, over gRPC.

`connect("localhost:50051").account("default").count('tags has "vip"')` gives what the same call gives in process, and
raises the same errors. Imports the protocol, its conversions and the model only. `connection.py` has the channel,
`opened.py` what all methods stand on, `account.py` those that read, `declaring.py` those that declare, `writes.py`
those that write, `streams.py` what streams need beside them.
"""

from segidx.client.account import RemoteAccount
from segidx.client.connection import MAX_RESPONSE_BYTES, Client, connect
from segidx.client.streams import Batch
from segidx.client.writes import STREAM_BATCH_ROWS, StreamResult

__all__ = ["MAX_RESPONSE_BYTES", "STREAM_BATCH_ROWS", "Batch", "Client", "RemoteAccount", "StreamResult", "connect"]
