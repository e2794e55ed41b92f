"""The supervisor of `serve --workers`: starts one writer and N workers, starts them again when they die, ends them in
order.

`ports.py` holds the port, `sockets.py` finds a place for the writer's socket, `children.py` is one process, `run.py`
the loop. Nothing here imports grpc, lmdb or numpy, or any floor of segidx but the model's errors: what the supervisor
does not load cannot bring it down. Children are exec'd, never forked off a process with threads or open maps.
"""
