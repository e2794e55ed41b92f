"""What the crash tests are made of: a load, a pure-Python model of what it means, a writer to be killed, an observer of
what is left, a judge, and the played-back power cuts. Only `adapter`, `stored`, `writer`, `observe`, `steps`,
`starved` and `failing` import segidx.
"""
