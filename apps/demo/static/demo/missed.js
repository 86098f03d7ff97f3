/**
 * The status line: what has become of the events that this page missed while it was away (docs/demo.md).
 * @module
 */

const line = document.getElementById("missed");

/** Since the connection was made. */
let caughtUp = 0;
/** @type {"" | "reloading…" | "reloaded"} */
let reload = "";

/**
 * There is no connection, so nothing is known.
 * @param {boolean} final whether none will follow
 */
export function disconnected(final) {
  caughtUp = 0;
  // A snapshot that is still awaited belongs to the connection that follows as well.
  reload = reload === "reloading…" ? reload : "";
  write(final ? "ended" : "waiting", final ? "offline" : "connecting");
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

/** A snapshot stands in the page: one that was asked for before the gap came may close it as well. */
export function reloaded() {
  if (reload === "reloading…") {
    reload = "reloaded";
    show();
  }
}

function show() {
  const events = `caught up: ${caughtUp} ${caughtUp === 1 ? "event" : "events"}`;
  write(reload || (caughtUp > 0 ? events : "up to date"), reload === "reloading…" ? "connecting" : "online");
}

function write(text, state) {
  line.dataset.state = state;
  // Only a change is announced to screen readers.
  if (line.textContent !== text) {
    line.textContent = text;
  }
}
