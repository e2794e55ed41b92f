"""The gRPC server: thin servicers over `segidx.database`.

`gate.py` stands before every servicer (decoding, errors), `calls.py` carries deadlines and cancellation inward,
`convert.py` and its neighbours, one a service, make and read messages, `pipeline.py` keeps a stream of writes in order,
`status.py` has the one table of errors, `health.py` says whether it serves, `server.py` puts it together. With workers,
`process.py` is one of the processes, and `forward.py` hands what writes over the connection of `link.py` to the writer.
"""
