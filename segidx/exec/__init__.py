"""Execution: runs a plan on the one snapshot it was bound to, natively, shard by shard.

Imports plan, store, kernels and model only.
"""
