"""The look of a report: one style sheet, for light and dark screens, narrow and wide ones, and paper.

Text has a contrast of at least 4.5 to what is behind it. Colours of kinds and classes are those of Okabe and Ito, as in
the figures; they never say anything that words do not.
"""

from __future__ import annotations

from typing import Final

KINDS: Final = (
    *("dataset", "ranking", "clones", "denoiser", "classifier", "run", "evaluation"),
    *("embedding", "moments"),
)
"""Kinds with a colour of their own."""

_LIGHT: Final = """
  color-scheme: light;
  --page: #f7f7f4; --card: #ffffff; --well: #f1f1ec; --ink: #1b1d21; --quiet: #555b64; --line: #dedfd8;
  --strong: #b9bcb4; --link: #0a5a94; --fill: #2871a6; --mark: #b8470a; --good: #0b7a57; --bad: #b8470a;
  --grey: #787e87; --on: #ffffff; --paper: #ffffff; --turn: none;
  --shadow: 0 1px 2px rgb(20 22 26 / 6%), 0 4px 16px rgb(20 22 26 / 4%);
"""
_DARK: Final = """
  color-scheme: dark;
  --page: #111316; --card: #191c20; --well: #22262b; --ink: #e9e9e4; --quiet: #a9b0ba; --line: #2d3238;
  --strong: #4a515a; --link: #7fc1f2; --fill: #5aa9de; --mark: #f0945a; --good: #3cb98d; --bad: #e8824a;
  --grey: #98a0aa; --on: #101214; --paper: #ffffff; --shadow: none; --turn: invert(.92) hue-rotate(180deg);
"""

CSS: Final = (
    ":root {"
    + _LIGHT
    + """
  --kind-dataset: #0072b2; --kind-ranking: #d55e00; --kind-clones: #b8558d; --kind-denoiser: #c98800;
  --kind-classifier: #009e73; --kind-run: #009e73; --kind-evaluation: #3a9bd6; --kind-embedding: #7a5bb5;
  --kind-moments: #8a7a55; --kind-other: #8b9097;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", "DejaVu Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "Liberation Mono", "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) { :root {"""
    + _DARK
    + """} }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--ink); font: 400 1rem/1.55 var(--sans);
  overflow-wrap: anywhere; }
a { color: var(--link); text-decoration-thickness: 1px; text-underline-offset: .18em; }
a:hover { text-decoration-thickness: 2px; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--card); padding: .4rem .8rem; z-index: 2; }
h1, h2, h3 { line-height: 1.2; text-wrap: balance; margin: 0; }
h1 { font-size: clamp(1.75rem, 1.3rem + 2vw, 2.6rem); font-weight: 680; letter-spacing: -.022em; }
h2 { font-size: 1.35rem; font-weight: 660; letter-spacing: -.012em; }
h3 { font-size: 1.08rem; font-weight: 640; }
code, pre { font-family: var(--mono); font-size: .86em; }
p { margin: .6rem 0; }
.note, figcaption, caption, .gist { color: var(--quiet); font-size: .875rem; }
.digest { cursor: help; color: var(--quiet); overflow-wrap: normal; white-space: nowrap; }

.top, .frame, .foot { max-width: 78rem; margin-inline: auto; padding-inline: clamp(1rem, 3vw, 2.5rem); }
.top { padding-block: clamp(2rem, 5vw, 3.5rem) 1.25rem; }
.top p { color: var(--quiet); margin: .7rem 0 0; }
.frame { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.5rem; }
.foot { padding-block: 1.5rem 3rem; color: var(--quiet); font-size: .875rem; }
nav ul { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; }
nav li { font-size: .93rem; }
nav a { text-decoration: none; display: inline-block; padding-block: .15rem; }
nav a:hover { text-decoration: underline; }
nav span { color: var(--quiet); font-size: .85em; font-variant-numeric: tabular-nums; white-space: nowrap; }
main { min-width: 0; }
main > section { margin-bottom: 2.75rem; }
main > section > h2 { margin-bottom: .9rem; padding-bottom: .5rem; border-bottom: 1px solid var(--line); }
@media (min-width: 64rem) {
  .frame { grid-template-columns: 12rem minmax(0, 1fr); gap: 3rem; align-items: start; }
  nav { position: sticky; top: 1.5rem; padding-top: .2rem; }
  nav ul { flex-direction: column; gap: .15rem; }
  nav li { border-left: 2px solid var(--line); padding-left: .8rem; display: flex; gap: .6rem; align-items: baseline;
    justify-content: space-between; }
  nav li:hover { border-color: var(--link); }
}

.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; box-shadow: var(--shadow);
  padding: clamp(.95rem, 2.4vw, 1.4rem); margin-bottom: 1.1rem; min-width: 0; }
.card > header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .3rem .75rem; }
.card > header h3 { margin-right: auto; }
.badge { display: inline-flex; align-items: center; gap: .4rem; font-size: .84rem; color: var(--quiet);
  white-space: nowrap; }
.badge::before { content: ""; width: .6rem; height: .6rem; border-radius: 50%; background: var(--kind-other); }
.big { display: flex; flex-wrap: wrap; gap: .7rem 1.5rem; margin: 0 0 .9rem; padding: 0; }
.big div { min-width: 4.4rem; }
.big dt { color: var(--quiet); font-size: .82rem; }
.big dd { margin: 0; font-size: 1.4rem; font-weight: 620; letter-spacing: -.015em; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
.cols { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1rem 2.5rem;
  margin-top: 1rem; }
.cols > * { min-width: 0; }
.facts { margin: 0; font-size: .93rem; }
.facts div { display: grid; grid-template-columns: minmax(6rem, 9rem) minmax(0, 1fr); gap: .8rem; padding: .32rem 0;
  border-bottom: 1px solid var(--line); }
.facts div:last-child { border-bottom: 0; }
.many { columns: 21rem 2; column-gap: 2.5rem; margin-top: .8rem; }
.many div { break-inside: avoid; }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; font-variant-numeric: tabular-nums; }
figure { margin: 0; min-width: 0; }
figcaption { margin-top: .35rem; line-height: 1.4; }
.chart svg { display: block; width: 100%; max-width: 28rem; height: auto; }
img { max-width: 100%; height: auto; display: block; }
.sheet { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: .7rem;
  width: fit-content; max-width: 100%; }
.wide { margin-top: .9rem; }
.pictures .sheet { padding: 1rem; }
.sheet.drawn { background: #ffffff; border-color: transparent; padding: 0; filter: var(--turn); }
.strip { display: flex; flex-wrap: wrap; gap: .55rem; margin: .5rem 0; }
.strip figure { width: 4rem; }
.strip figcaption { font-size: .74rem; text-align: center; margin-top: .15rem; font-variant-numeric: tabular-nums; }
.pixels { width: 3.5rem; height: auto; image-rendering: pixelated; border-radius: 4px; background: var(--well); }
.strip .pixels { width: 4rem; }
.pair { display: flex; gap: 2px; }
.pairs { display: flex; flex-wrap: wrap; gap: .8rem 1.1rem; margin: .5rem 0; }
.pairs figcaption { font-size: .78rem; text-align: center; margin-top: .2rem; font-variant-numeric: tabular-nums; }
.copies { display: flex; flex-wrap: wrap; gap: .6rem 2.5rem; margin: .6rem 0; }
.copies .pixels { width: 2.9rem; }
.copies > div { display: flex; flex-wrap: wrap; gap: .25rem; align-items: center; }
.copies:not(.bare) .pixels:first-child { margin-right: .6rem; outline: 2px solid var(--strong); outline-offset: 1px; }

.scroll { overflow-x: auto; margin: .6rem 0; max-width: 100%; }
.canvas { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .6rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.full table, .cols table { min-width: 100%; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .4rem 1.3rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  max-width: 26rem; }
td { overflow-wrap: break-word; }
th { color: var(--quiet); font-weight: 560; font-size: .84rem; border-bottom-color: var(--strong);
  white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
.short { white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
ul.notes { list-style: none; padding: 0; font-size: .93rem; }
details { margin-top: .7rem; font-size: .93rem; }
summary { cursor: pointer; color: var(--link); width: fit-content; padding-block: .1rem; }
pre { margin: .5rem 0; padding: .7rem .85rem; background: var(--well); border-radius: 8px; white-space: pre-wrap;
  line-height: 1.5; }
pre.plain { white-space: pre; overflow-x: auto; }
.word { white-space: nowrap; }
.copy code { user-select: all; -webkit-user-select: all; font-size: 1em; }
.steps { list-style: none; margin: 0; padding: 0; }
.steps > li { padding: .85rem 0; border-bottom: 1px solid var(--line); scroll-margin-top: 1rem; }
.steps > li:last-child { border-bottom: 0; }
.steps .head { margin: 0; }
.steps .nth { display: inline-block; min-width: 1.9rem; color: var(--quiet); font-variant-numeric: tabular-nums; }
.steps details { margin-top: .35rem; }
li:target { background: color-mix(in srgb, var(--link) 9%, transparent); }
.card:target { border-color: var(--link); background: var(--card); }

svg text { font: 10.5px var(--sans); fill: var(--quiet); }
.axis { stroke: var(--strong); } .rule { stroke: var(--line); } .mark { stroke: var(--mark); stroke-width: 1.6; }
.fill { fill: var(--fill); } .curve { fill: none; stroke: var(--fill); stroke-width: 1.8; }
svg .on { fill: var(--on); font-weight: 640; font-size: 11.5px; }
.good { fill: var(--good); } .bad { fill: var(--bad); } .bad2 { fill: var(--fill); } .grey { fill: var(--grey); }
.item { white-space: nowrap; }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 3px; margin-right: .45rem; }
.key.good { background: var(--good); } .key.bad { background: var(--bad); } .key.bad2 { background: var(--fill); }
.key.grey { background: var(--grey); }
.graph { display: block; margin-inline: auto; }
.graph a { text-decoration: none; }
.graph .box { fill: var(--page); stroke: var(--strong); }
.graph a:hover .box, .graph a:focus .box { stroke: var(--link); stroke-width: 2; }
.graph .edge { fill: none; stroke: var(--grey); stroke-width: 1.4; } .graph .guess { stroke-dasharray: 4 4; }
.graph marker path { fill: var(--grey); }
.graph .tool { font-size: 13.5px; font-weight: 640; fill: var(--ink); }
.graph .output { font: 12px var(--mono); fill: var(--ink); }
.graph .kind { fill: var(--kind-other); }
"""
    + "".join(
        f".graph .k-{kind} {{ fill: var(--kind-{kind}); }} .b-{kind}::before {{ background: var(--kind-{kind}); }}\n"
        for kind in KINDS
    )
    + """
@media print {
  :root {"""
    + _LIGHT
    + """ --page: #ffffff; --shadow: none; }
  @page { margin: 16mm 14mm; }
  html { font-size: 12.5px; }
  nav, .skip, details:not([open]) { display: none; }
  .frame { display: block; }
  .top, .frame, .foot { padding-inline: 0; max-width: none; }
  .top { padding-top: 0; }
  .card { break-inside: avoid; border-radius: 6px; }
  h2, h3 { break-after: avoid; }
  .scroll, pre.plain { overflow: visible; }
  pre.plain { white-space: pre-wrap; }
  .graph { width: 100%; height: auto; max-height: 230mm; }
  .steps > li, figure, tr { break-inside: avoid; }
  a { color: inherit; text-decoration: none; }
}
"""
)
