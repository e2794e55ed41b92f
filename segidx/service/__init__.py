"""The gRPC server: thin servicers over `segidx.database`.

`gate.py` stands before every servicer (decoding, errors), `calls.py` carries deadlines and cancellation inward,
`convert.py` alone makes and reads messages, `status.py` has the one table of errors, `server.py` puts it together.
"""
