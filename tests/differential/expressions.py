"""Random cron expressions, from a seed: valid ones of the whole dialect and almost valid ones."""

from __future__ import annotations

import random

RANGES = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day": (1, 31),
    "month": (1, 12),
    "weekday": (0, 6),
}
MACROS = [
    "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly",
]  # fmt: skip
NAMES = {
    "month": ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    "weekday": ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
}


class Expressions:
    """A source of expressions; equal seeds give equal expressions."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def standard(self) -> str:
        """Five fields with only what CronJob has."""
        return " ".join(self.field(name) for name in ("minute", "hour", "day", "month", "weekday"))

    def dialect(self) -> str:
        """Five or six fields with `L`, `W` and `#` among them, without `H`."""
        fields = [
            self.field("minute"),
            self.field("hour"),
            self._special("day") if self._often(0.3) else self.field("day"),
            self.field("month"),
            self._special("weekday") if self._often(0.3) else self.field("weekday"),
        ]
        if self._often(0.2):
            fields.insert(0, self.field("second"))
        return " ".join(fields)

    def broken(self) -> str:
        """A standard expression with some characters changed; often still valid."""
        text = list(self.standard())
        for _ in range(self.random.randint(1, 3)):
            place = self.random.randrange(len(text) + 1)
            piece = self.random.choice(
                [*"0123456789*?/-,# \t+LWH@=~.", "", "99", "SUN", "sat", "JaN", "TZ=", "\u00a0"]
            )
            text[place : place + self.random.randint(0, 1)] = [piece]
        return "".join(text)

    def descriptor(self) -> str:
        """A macro or an `@every`, most of them valid in CronJob."""
        if self._often(0.3):
            return self.random.choice([*MACROS, "@reboot", "@Daily", "@", "@every", "@fortnightly"])
        units = self.random.sample(["h", "m", "s", "ms", "us"], self.random.randint(1, 2))
        numbers = [self.random.choice(["1", "2", "90", "1.5", "0.25", ".5", "0"]) for _ in units]
        sign = self.random.choice(["", "", "", "", "-", "+"])
        return "@every " + sign + "".join(map("".join, zip(numbers, units, strict=True)))

    def _often(self, share: float) -> bool:
        return self.random.random() < share

    def field(self, name: str) -> str:
        """A field with what CronJob has; a wildcard in one case of three."""
        if self._often(0.35):
            return "*" if self._often(0.8) else "?"
        count = 1 if self._often(0.7) else self.random.randint(2, 4)
        return ",".join(self._term(name) for _ in range(count))

    def _term(self, name: str) -> str:
        low, high = RANGES[name]
        form = self.random.random()
        if form < 0.45:
            return self._value(name, self.random.randint(low, high))
        if form < 0.65:
            return f"{self.random.choice('**?')}/{self._step(high)}"
        first = self.random.randint(low, high)
        last = self.random.randint(first, high)
        if form < 0.75:
            return f"{self._value(name, first)}/{self._step(high)}"
        span = f"{self._value(name, first)}-{self._value(name, last)}"
        return span if form < 0.9 else f"{span}/{self._step(high)}"

    def _step(self, high: int) -> int:
        return self.random.choice([1, 2, 3, 5, 7, 10, 15, 20, 30, high, high + 1, 100])

    def _value(self, name: str, value: int) -> str:
        if name in NAMES and self._often(0.4):
            written = NAMES[name][value - RANGES[name][0]]
            return written if self._often(0.7) else written.capitalize()
        return f"{value:02d}" if self._often(0.1) else str(value)

    def _special(self, name: str) -> str:
        if name == "day":
            day = self.random.randint(1, 31)
            term = self.random.choice(["L", "LW", f"L-{self.random.randint(0, 30)}", f"{day}W"])
        else:
            weekday = self._value(name, self.random.randint(0, 6))
            term = self.random.choice([f"{weekday}L", f"{weekday}#{self.random.randint(1, 5)}"])
        return term if self._often(0.7) else f"{term},{self._term(name)}"
