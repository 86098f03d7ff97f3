/**
 * The two indicators of the article, and a notice where live updates have ended for good (docs/demo.md).
 * @module
 */

const CONNECTED = { connecting: "Connecting…", online: "Online" };

/** @param {{state: string, reason: string, retryInMs: number | null}} change */
export function showState({ state, reason, retryInMs }) {
  const online = state === "online";
  write("connected", CONNECTED[state] ?? "Offline", state);
  write("authenticated", online ? "Yes" : "No", online ? "online" : "offline");

  const wait = retryInMs === null ? "" : ` Next try in ${Math.ceil(retryInMs / 1000)} s.`;
  document.getElementById("connected").title = reason + wait;

  const notice = document.getElementById("connection-notice");
  notice.hidden = state !== "stopped" && state !== "signed-out";
  notice.textContent = notice.hidden ? "" : reason;
}

function write(id, text, state) {
  const indicator = document.getElementById(id);
  indicator.dataset.state = state;
  // Only a change is announced to screen readers.
  if (indicator.textContent !== text) {
    indicator.textContent = text;
  }
}
