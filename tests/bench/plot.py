"""A plot of the ratios: one bar for each figure, and a line where the target is."""

from html import escape
from math import log2

WIDTH, LABEL, ROW, MOST = 900, 330, 22, 16.0
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#444}.ours{fill:#2a7ae2}.missed{fill:#d9822b}"
    ".target{stroke:#111;stroke-width:2}.one{stroke:#999;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}.target{stroke:#eee}}"
)


def bars(entries):
    """An SVG of those figures that have a peer: how many times as good we are, on a log scale."""
    shown = [each for each in entries if each["ratio"]]
    height = ROW * (len(shown) + 2)
    rows = [bar(each, ROW * (number + 1)) for number, each in enumerate(shown)]
    one = x(1.0)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
            f"<style>{STYLE}</style>",
            f'<text x="{one}" y="14" text-anchor="middle">as good as the peer</text>',
            f'<line class="one" x1="{one}" x2="{one}" y1="18" y2="{height - ROW}"/>',
            *rows,
            f'<text x="10" y="{height - 6}">right is better; the black line is the target</text>',
            "</svg>",
            "",
        ]
    )


def bar(each, y):
    """One figure: its name, its bar from 1 to the ratio, and the target."""
    good = goodness(each, each["ratio"])
    left, right = sorted((x(1.0), x(good)))
    kind = "missed" if each["met"] is False else "ours"
    width = max(right - left, 1)
    parts = [
        f'<text x="10" y="{y + 14}">{escape(each["name"])}</text>',
        f'<rect class="{kind}" x="{left}" y="{y + 3}" width="{width}" height="14"/>',
        f'<text x="{WIDTH - 60}" y="{y + 14}">{each["ratio"]:.2f} ×</text>',
    ]
    if each["target"]:
        at = x(goodness(each, each["target"]))
        parts.append(f'<line class="target" x1="{at}" x2="{at}" y1="{y + 1}" y2="{y + 19}"/>')
    return "".join(parts)


def goodness(each, ratio):
    """A ratio of which more is better."""
    return 1 / ratio if each["better"] == "less" else ratio


def x(ratio):
    """Where a ratio lies: from a sixteenth on the left to sixteen times on the right."""
    clamped = min(max(ratio, 1 / MOST), MOST)
    width = WIDTH - LABEL - 80
    return round(LABEL + width * (log2(clamped) + log2(MOST)) / (2 * log2(MOST)), 1)
