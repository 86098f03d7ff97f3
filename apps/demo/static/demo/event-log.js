/**
 * The events of this tab, the newest first (docs/demo.md).
 * @module
 */

import { clockTime, element } from "./text.js";

/** More rows help nobody and make the page slow. */
const ROWS_MAX = 200;

/** An event may have 256 KiB; this much is enough to recognise it. */
const DATA_MAX_CHARS = 4000;

const rows = document.getElementById("events");

/** @param {{id: string, data: unknown, ts?: number}} event */
export function logEvent({ id, data, ts }) {
  if (rows === null) {
    return;
  }
  for (const hint of document.querySelectorAll("#log-empty, #log-sample")) {
    hint.hidden = true;
  }
  rows.hidden = false;
  const time = Number.isFinite(ts) ? new Date(ts * 1000) : new Date();
  rows.prepend(
    element(
      "li",
      {},
      element("p", { class: "event-head" }, element("bdi", { class: "event-id" }, id), clockTime(time)),
      element("pre", { dir: "auto" }, pretty(data)),
    ),
  );
  while (rows.childElementCount > ROWS_MAX) {
    rows.lastElementChild.remove();
  }
}

function pretty(data) {
  const text = JSON.stringify(data, null, 2) ?? "";
  return text.length > DATA_MAX_CHARS ? `${text.slice(0, DATA_MAX_CHARS)}…` : text;
}
