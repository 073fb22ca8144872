"""The report's plots, as inline SVG: a histogram of distances, and curves of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from app.markup import Markup, element

WIDTH, HEIGHT = 420.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 8.0, 10.0, 22.0
CURVE_COLORS = ("#1f8fb3", "#d9822b", "#7a5fc0", "#3f9c5a", "#c2475a", "#8a8f3c")
MOST_POINTS = 400
LOG_FROM = 20.0  # a curve whose values span more than this ratio gets a logarithmic axis


def histogram(
    values: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"], greatest: float, unit: str, alt: str
) -> Markup:
    """How much of the weight lies in each of 32 ranges from 0 to `greatest`; what is greater counts to the last."""
    share, edges = np.histogram(np.minimum(values, greatest), 32, (0, greatest), weights=weights)
    share = share / max(share.sum(), 1e-300)
    x = LEFT + edges / greatest * (WIDTH - LEFT - RIGHT)
    tall = share / share.max() * (HEIGHT - TOP - BOTTOM)
    bars = [
        element(
            "rect",
            x=f"{a:.1f}",
            y=f"{HEIGHT - BOTTOM - h:.1f}",
            width=f"{b - a - 1:.1f}",
            height=f"{h:.1f}",
            class_="bar",
        )
        for a, b, h in zip(x[:-1], x[1:], tall, strict=True)
    ]
    labels = [_text(LEFT, HEIGHT - 6, "0"), _text(WIDTH - RIGHT, HEIGHT - 6, f"{greatest:.3g} {unit}".strip(), "end")]
    labels.append(_text(LEFT - 6, TOP + 8, f"{100 * share.max():.0f} %", "end"))
    return _svg(alt, _axes(), *bars, *labels)


def curves(losses: Mapping[str, Sequence[Sequence[float]]], alt: str) -> Markup:
    """Curves of (step, value) pairs by name, with a logarithmic axis where the values are positive and span much."""
    series = {name: np.array(pairs, np.float64).reshape(-1, 2) for name, pairs in losses.items()}
    series = {name: pairs[np.isfinite(pairs).all(1)] for name, pairs in series.items()}
    series = {name: pairs[:: max(1, len(pairs) // MOST_POINTS)] for name, pairs in series.items() if len(pairs)}
    if not series:
        return Markup()
    every = np.concatenate(list(series.values()))
    (first, low), (last, high) = every.min(0), every.max(0)
    logarithmic = low > 0 and high / low > LOG_FROM
    drawn: list[Markup] = []
    for i, (name, pairs) in enumerate(series.items()):
        color = CURVE_COLORS[i % len(CURVE_COLORS)]
        x = LEFT + (pairs[:, 0] - first) / max(last - first, 1e-300) * (WIDTH - LEFT - RIGHT)
        value = (
            np.log(pairs[:, 1] / low) / np.log(high / low)
            if logarithmic
            else (pairs[:, 1] - low) / max(high - low, 1e-300)
        )
        y = HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)
        drawn.append(
            element("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)), stroke=color)
        )
        drawn.append(
            element("text", name, x=WIDTH - RIGHT - 4, y=TOP + 10 + 14 * i, text_anchor="end", style=f"fill:{color}")
        )
    ends = [_text(LEFT - 6, TOP + 8, f"{high:.3g}", "end"), _text(LEFT - 6, HEIGHT - BOTTOM, f"{low:.3g}", "end")]
    ends += [_text(LEFT, HEIGHT - 6, f"{first:.0f}"), _text(WIDTH - RIGHT, HEIGHT - 6, f"step {last:.0f}", "end")]
    return _svg(alt, _axes(), *drawn, *ends)


def _svg(alt: str, *children: Markup) -> Markup:
    return element("svg", *children, viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", role="img", aria_label=alt)


def _axes() -> Markup:
    base = HEIGHT - BOTTOM
    across = element("line", x1=LEFT, y1=base, x2=WIDTH - RIGHT, y2=base, class_="axis")
    return Markup(across + element("line", x1=LEFT, y1=TOP, x2=LEFT, y2=base, class_="axis"))


def _text(x: float, y: float, content: str, anchor: str = "start") -> Markup:
    return element("text", content, x=x, y=y, text_anchor=anchor)
