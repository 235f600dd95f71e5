"""The rules of exactly-once creation as three small models, explored exhaustively.

    rules.py      the rules; each can be taken out
    state.py      what the world is made of: immutable values
    server.py     the API server, and the invariants
    leader.py     what a leader does, around the product's own decisions
    run.py        the run model: time, terms, watches, faults
    election.py   the election model: who may act
    resharding.py the model of a change of the number of shards
    real.py       the product's pure functions, asked in the model's terms
    explore.py    visits every state, and prints the shortest way to a broken invariant
    bounds.py     how far: slots, faults, kinds of faults

What was found with them: docs/explanation/exactly-once.md.
"""
