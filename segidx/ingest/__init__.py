"""Everything that changes contact data: batches, validation, the writer, bulk import.

Imports from store, kernels and model; never from exec, plan or service.
"""
