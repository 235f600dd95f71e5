"""Whether and when a failed attempt is repeated: `spec.retryPolicy`.

Pure and without chance: the jitter is drawn from a hash of the run's uid and the attempt, so each
replica comes to the same instant, and many runs that failed together still come back apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskrunner.domain.hashing import spread


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How failed attempts are repeated. Durations in seconds."""

    max_retries: int = 0
    """Most attempts after the first; 0 for none."""
    initial_delay: int = 10
    multiplier: int = 2
    max_delay: int = 600
    jitter_percent: int = 20
    retry_on: tuple[int, ...] = ()
    """Retry only on these exit codes; empty for all."""
    fail_on: tuple[int, ...] = ()
    """Never retry on these."""

    @property
    def attempts(self) -> int:
        """Most attempts in all."""
        return self.max_retries + 1

    @property
    def judges_exit_codes(self) -> bool:
        """Whether the exit code matters for a retry."""
        return bool(self.retry_on or self.fail_on)


def base_delay(rule: RetryRule, retry: int) -> int:
    """Seconds before the retry with this number (from 1), without jitter:
    min(initial × multiplier^(retry - 1), max)."""
    delay = rule.initial_delay
    for _ in range(retry - 1):
        if delay >= rule.max_delay:
            break
        delay *= rule.multiplier
    return min(delay, rule.max_delay)


def delay(rule: RetryRule, retry: int, uid: str) -> int:
    """Whole seconds before the retry with this number (from 1) of the run `uid`: the base delay
    give or take `jitter_percent`. A delay too short to be divided has no jitter."""
    base = base_delay(rule, retry)
    least = -(-base * (100 - rule.jitter_percent) // 100)
    most = base * (100 + rule.jitter_percent) // 100
    return least + spread(most - least + 1, "retry jitter", uid, str(retry))


def not_retried(rule: RetryRule, exit_code: int | None) -> str:
    """Why a failure with this exit code is not repeated, as a sentence; empty when it may be.

    An exit code is the program's own verdict. Where there is none, the program did not come to one
    (the node was lost, the pod was evicted, its image could not be pulled, time ran out), and the
    lists say nothing about it: it is repeated.
    """
    if exit_code is None:
        return ""
    if exit_code in rule.fail_on:
        return f"It is not retried: exit code {exit_code} is in retryPolicy.failOnExitCodes."
    if rule.retry_on and exit_code not in rule.retry_on:
        return f"It is not retried: exit code {exit_code} is not in retryPolicy.retryOnExitCodes."
    return ""
