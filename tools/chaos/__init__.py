"""Chaos: replicas of the operator on a real control plane, under faults, every slot accounted for.

`install` puts the chart's rights and policies on a cluster of the test bed, `replicas` runs the
operator behind a link that can be cut, `load` applies tasks whose slots are known by arithmetic,
`faults` breaks things one after the other, `ledger` notes everything that was ever seen, and
`verdict` says at the end which slots were lost, doubled or stuck.
"""
