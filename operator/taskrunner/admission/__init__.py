"""The admission webhook: bad specs are told at apply, in words (ADR 0004).

Read in the order of a request: `server` takes it, `review` reads it, `checks` judges it (with
`calendars` and `template`), `review` answers it. `certificates` and `keeper` look after TLS.
"""
