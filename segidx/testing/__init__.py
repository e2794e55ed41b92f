"""What tests stand on: the oracle, the generators of data and expressions, and the hypothesis strategies.

Imported by nothing in production. May import anything below `segidx/service`; what is here needs `segidx/model` only,
so that no mistake of the engine can be shared with what judges it.
"""
