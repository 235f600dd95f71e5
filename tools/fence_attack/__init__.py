"""The fence, attacked: `make fence-attack`, and in a few seconds in tests/cluster/test_fence.py.

Holders take shards over, one after the other, as the operator does. All the while, prepared writes
of the holder before (executions and Jobs with its epoch) are released, as those of a process that
its machine had stopped. Counted is what the API server took of them, and when.
"""
