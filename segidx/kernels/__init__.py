"""Facade over the native core: arrays and buffers in, arrays, counts and bytes out. No I/O; imports only the model."""
