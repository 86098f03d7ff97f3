/**
 * The status line: what has become of the events that this page missed while it was away (docs/demo.md).
 * @module
 */

const line = document.getElementById("missed");

/** Since the connection was made. */
let caughtUp = 0;
/** @type {"" | "reloading…" | "reloaded"} */
let reload = "";

/** A new connection: nothing is known yet. */
export function connecting() {
  caughtUp = 0;
  // A snapshot that is still awaited belongs to the connection that follows as well.
  reload = reload === "reloading…" ? reload : "";
}

/** @param {{state: string, replay: number}} change */
export function streamChanged({ state, replay }) {
  if (state === "gap") {
    reload = "reloading…";
  } else if (state === "recovered") {
    caughtUp += replay;
  }
  show();
}

/** The snapshot stands in the page. */
export function reloaded() {
  reload = "reloaded";
  show();
}

function show() {
  const events = `caught up: ${caughtUp} ${caughtUp === 1 ? "event" : "events"}`;
  const text = reload || (caughtUp > 0 ? events : "up to date");
  line.dataset.state = reload === "reloading…" ? "connecting" : "online";
  // Only a change is announced to screen readers.
  if (line.textContent !== text) {
    line.textContent = text;
  }
}
