"""Draws the distribution of start lag as SVG: `python -m bench.plot [results.json] [-o lag.svg]`.

Without a file, the newest of bench/results/. Each line is a measure with samples: which part of the
runs has started so long after the slot. The axis of time is logarithmic.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from xml.sax.saxutils import escape

RESULTS = Path(__file__).parent / "results"
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _LEGEND = 860, 420, 50, 20, 40, 250
_COLOURS = ("#1b6ca8", "#c0392b", "#27864a", "#8e5ea2", "#b7791f", "#555555", "#0e7c7b", "#d1495b")


def draw(lines: dict[str, list[float]]) -> str:
    """The SVG of named samples, in seconds."""
    values = [value for samples in lines.values() for value in samples]
    low = 10 ** math.floor(math.log10(max(min(values), 1e-3)))
    high = 10 ** math.ceil(math.log10(max(values)))
    right, floor = _WIDTH - _LEGEND, _HEIGHT - _BOTTOM

    def x(seconds: float) -> float:
        part = math.log10(max(seconds, low) / low) / math.log10(high / low)
        return _LEFT + part * (right - _LEFT)

    def y(part: float) -> float:
        return floor - part * (floor - _TOP)

    parts = []
    decade = low
    while decade <= high * 1.01:
        at = x(decade)
        parts.append(f'<path d="M{at:.1f} {_TOP}V{floor}" stroke="#ddd"/>')
        parts.append(_text(at, floor + 16, f"{decade:g} s", "middle"))
        decade *= 10
    for percent in (0, 25, 50, 75, 99):
        at = y(percent / 100)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, at + 4, f"{percent} %", "end"))
    for number, (name, samples) in enumerate(lines.items()):
        colour, ordered = _COLOURS[number % len(_COLOURS)], sorted(samples)
        points = " ".join(
            f"{x(value):.1f},{y((rank + 1) / len(ordered)):.1f}"
            for rank, value in enumerate(ordered)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        at = _TOP + 14 + 20 * number
        parts.append(f'<path d="M{right + 12} {at - 4}h20" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(right + 38, at, name, "start"))
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 6, "start lag", "middle"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", type=Path, help="default: the newest")
    parser.add_argument("-o", "--output", type=Path, default=Path("lag.svg"))
    arguments = parser.parse_args()
    source = arguments.results or max(RESULTS.glob("*.json"), default=None)
    if source is None:
        print("There are no results; run `make bench ARGS='--suite burst'` first.", file=sys.stderr)
        return 1
    measures = json.loads(source.read_text("utf-8"))["measures"]
    lines = {
        name.rpartition("/")[2].removesuffix(" p99"): measure["samples"]
        for name, measure in measures.items()
        if "samples" in measure and measure["unit"] == "s"
    }
    if not lines:
        print(f"{source.name} has no start lags in it; take one of --suite burst.", file=sys.stderr)
        return 1
    arguments.output.write_text(draw(lines), "utf-8")
    print(f"{arguments.output}: {', '.join(lines)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
