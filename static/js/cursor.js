/**
 * Cursors: how far a page has come in each stream (docs/browser-client.md).
 * @module
 */

/** The element that `{% realtime_cursor %}` prints. */
const PAGE_CURSOR_ID = "realtime-cursor";

/**
 * @typedef {object} Position of the last event that was applied
 * @property {string} epoch
 * @property {number} seq
 */

/** By name of stream. @typedef {Record<string, Position>} Cursor */

/** @returns {Cursor} the one that this page was rendered with; empty where it has none */
export function pageCursor() {
  const text = document.getElementById(PAGE_CURSOR_ID)?.textContent;
  if (!text) {
    return {};
  }
  try {
    return JSON.parse(text) ?? {};
  } catch {
    reportError(new Error(`The element #${PAGE_CURSOR_ID} holds no JSON.`));
    return {};
  }
}

/**
 * @param {any} value
 * @returns {value is Position}
 */
export function isPosition(value) {
  return typeof value?.epoch === "string" && Number.isSafeInteger(value.seq) && value.seq >= 0;
}

/**
 * The stream of a topic, as the server escapes its name. In place of a name whose escaped form is over 180 bytes stands
 * a digest there; such a stream is known from the server's first word on it only.
 * @param {string} topic
 * @returns {string}
 */
export function topicStream(topic) {
  const text = String(topic);
  const escaped = encodeURIComponent(text.toWellFormed?.() ?? text);
  return `topic.${escaped.replace(/[.!~*'()]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)}`;
}
