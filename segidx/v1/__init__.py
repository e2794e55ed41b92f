"""The public protocol in Python: `*_pb2` and `*_pb2_grpc` are generated here from proto/segidx/v1 when the package is
built. They import nothing else of segidx."""
