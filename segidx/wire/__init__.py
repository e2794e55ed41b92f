"""The public protocol and the model, each made from the other; what the service and the client have in common.

Imports only `segidx.v1`, `segidx.model` and protobuf: no grpc, no data, nothing of the service.
"""
