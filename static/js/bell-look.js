/**
 * How the bell looks (docs/inbox.md, "The bell"). A page changes it by custom properties and by `::part()`.
 *
 * The defaults are the system's colours, so that they follow the page's own `color-scheme`. The sheet is made by the
 * script, which a Content-Security-Policy without inline styles allows.
 * @module
 */

export const BELL_STYLE = new CSSStyleSheet();

BELL_STYLE.replaceSync(`
/* What begins with "--_" is within: a page's own names must not meet them. */
:host {
  --_accent: var(--realtime-bell-accent, LinkText);
  --_badge: var(--realtime-bell-badge, #c62828);
  --_on-badge: var(--realtime-bell-on-badge, #fff);
  --_surface: var(--realtime-bell-surface, Canvas);
  --_text: var(--realtime-bell-text, CanvasText);
  --_muted: var(--realtime-bell-muted, color-mix(in srgb, var(--_text) 70%, var(--_surface)));
  --_line: var(--realtime-bell-line, color-mix(in srgb, var(--_text) 18%, var(--_surface)));
  --_sunken: color-mix(in srgb, var(--_text) 7%, var(--_surface));
  position: relative;
  display: inline-block;
}

*,
*::before {
  box-sizing: border-box;
}

[hidden] {
  display: none !important;
}

h2,
p,
ul {
  margin: 0;
  padding: 0;
}

button {
  border: 0;
  border-radius: 8px;
  background: transparent;
  color: inherit;
  font: inherit;
  cursor: pointer;
}

button:hover {
  background: var(--_sunken);
}

:focus-visible {
  outline: 3px solid var(--_accent);
  outline-offset: 2px;
}

[part~="button"] {
  position: relative;
  display: grid;
  place-items: center;
  width: 2.5rem;
  height: 2.5rem;
  padding: 0;
}

svg {
  width: 1.4rem;
  height: 1.4rem;
  fill: none;
  stroke: currentColor;
  stroke-width: 1.8;
  stroke-linecap: round;
  stroke-linejoin: round;
}

[part~="badge"] {
  position: absolute;
  inset-block-start: 0;
  inset-inline-start: 52%;
  min-width: 1.2rem;
  padding: 0 0.3rem;
  border-radius: 99px;
  background: var(--_badge);
  color: var(--_on-badge);
  font-size: 0.72rem;
  font-weight: 700;
  line-height: 1.2rem;
  font-variant-numeric: tabular-nums;
  text-align: center;
  white-space: nowrap;
}

[part~="spoken"] {
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
}

[part~="panel"] {
  position: absolute;
  top: calc(100% + 0.4rem);
  right: 0;
  z-index: 10;
  display: flex;
  flex-direction: column;
  width: 24rem;
  max-height: min(32rem, 80vh);
  border: 1px solid var(--_line);
  border-radius: 12px;
  background: var(--_surface);
  box-shadow: 0 8px 32px rgb(0 0 0 / 25%);
  color: var(--_text);
  font-size: 0.95rem;
  line-height: 1.45;
  text-align: start;
}

[part~="rightward"] {
  right: auto;
  left: 0;
}

[part~="panel"]:focus {
  outline: none;
}

[part~="head"] {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  justify-content: space-between;
  gap: 0 1rem;
  padding: 0.7rem 1rem;
  border-block-end: 1px solid var(--_line);
}

[part~="heading"] {
  font-size: 1rem;
}

a,
[part~="read-all"],
[part~="undo"] {
  color: var(--_accent);
}

[part~="read-all"],
[part~="undo"] {
  padding: 0.2rem 0.5rem;
  font-size: 0.9rem;
}

[part~="note"],
[part~="done"] {
  padding: 0.7rem 1rem;
  color: var(--_muted);
}

[part~="list"] {
  overflow-y: auto;
  overscroll-behavior: contain;
  list-style: none;
}

[part~="item"] {
  display: grid;
  grid-template-columns: minmax(0, 1fr) auto;
  gap: 0.1rem 0.5rem;
  align-items: start;
  padding-block: 0.6rem;
  padding-inline: 1rem 0.5rem;
}

[part~="item"]:not(:first-child) {
  border-block-start: 1px solid var(--_line);
}

[part~="title"] {
  display: -webkit-box;
  overflow: hidden;
  color: var(--_text);
  overflow-wrap: anywhere;
  -webkit-box-orient: vertical;
  -webkit-line-clamp: 3;
}

a[part~="title"] {
  text-decoration-color: var(--_muted);
  text-underline-offset: 0.2em;
}

[part~="unread"] [part~="title"] {
  font-weight: 600;
}

[part~="time"] {
  grid-column: 1;
  color: var(--_muted);
  font-size: 0.85rem;
}

[part~="toggle"] {
  display: grid;
  grid-row: 1 / 3;
  grid-column: 2;
  place-items: center;
  width: 2rem;
  height: 2rem;
}

[part~="toggle"]::before {
  width: 0.75rem;
  height: 0.75rem;
  border: 2px solid var(--_muted);
  border-radius: 50%;
  content: "";
}

[part~="unread"] [part~="toggle"]::before {
  border-color: var(--_accent);
  background: var(--_accent);
}

[part~="foot"] {
  border-block-start: 1px solid var(--_line);
  padding: 0.7rem 1rem;
  text-align: center;
}

/* A phone has no room beside the bell. */
@media (max-width: 32rem) {
  [part~="panel"] {
    position: fixed;
    inset: auto 0.5rem 0.5rem;
    width: auto;
    max-height: 75vh;
  }
}

@media (prefers-reduced-motion: no-preference) {
  [part~="panel"] {
    animation: open 0.12s ease-out;
  }

  @keyframes open {
    from {
      opacity: 0;
      transform: translateY(-0.3rem);
    }
  }
}
`);

const SVG = "http://www.w3.org/2000/svg";

/** Twenty-four units wide and high. */
const ICON = "M18 9a6 6 0 0 0-12 0c0 6-2.5 7.5-2.5 7.5h17S18 15 18 9M10 20.5a2.3 2.3 0 0 0 4 0";

/** @returns {SVGElement} */
export function bellIcon() {
  const icon = document.createElementNS(SVG, "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICON);
  icon.append(path);
  return icon;
}
