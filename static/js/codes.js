/**
 * Every number and word that both ends of the socket must agree on (docs/protocol.md).
 *
 * Python keeps the same table in core/codes.py; a test holds the two equal.
 * @module
 */

/** The subprotocol to offer: without it the server speaks the 2016 dialect. */
export const SUBPROTOCOL = "realtime.v1";

/** A text frame of its own, not JSON; the client echoes it. */
export const HEARTBEAT = "<3";

/**
 * Why the server closes a socket and what the client then does. A code that is not here means "reconnect" below 4500
 * and above 4999, "stop" between.
 * @type {Readonly<Record<number, {name: string, action: "reconnect" | "stop"}>>}
 */
export const CLOSE_CODES = Object.freeze({
  4001: { name: "drain", action: "reconnect" },
  4002: { name: "too_slow", action: "reconnect" },
  4003: { name: "auth_timeout", action: "reconnect" },
  4005: { name: "heartbeat_missed", action: "reconnect" },
  4006: { name: "resync", action: "reconnect" },
  4008: { name: "rate_limited", action: "reconnect" },
  4501: { name: "auth_failed", action: "stop" },
  4502: { name: "protocol_violation", action: "stop" },
  4503: { name: "revoked", action: "stop" },
  4504: { name: "too_many_connections", action: "stop" },
  4505: { name: "origin_refused", action: "stop" },
});

/** Control frames. No application event bears one of these ids. */
export const RESERVED_IDS = Object.freeze([
  "AUTH REQUEST",
  "AUTH",
  "AUTH OK",
  "AUTH FAILED",
  "SUBSCRIBE",
  "SUBSCRIBED",
  "UNSUBSCRIBE",
  "UNSUBSCRIBED",
  "ACK",
  "GAP",
  "RECONNECT",
  "ERROR",
  "<3",
]);

/** What to tell a person about a code that stops the connection; by name. */
const STOP_SENTENCES = Object.freeze({
  auth_failed: "The server refused this sign-in. Reload the page and sign in again.",
  protocol_violation: "This page is out of date. Reload it.",
  revoked: "You have been signed out. Sign in again to see live updates.",
  too_many_connections: "Too many tabs are open. Close some of them and reload this one.",
  origin_refused: "This address may not receive live updates. Tell the people who run the site.",
});

/**
 * @param {number} code of a close event
 * @returns {boolean} whether the client must not come back by itself
 */
export function stops(code) {
  return code >= 4500 && code <= 4999;
}

/**
 * @param {number} code of a close event that stops the connection
 * @returns {string} one sentence for a person
 */
export function stopSentence(code) {
  const name = CLOSE_CODES[code]?.name;
  return STOP_SENTENCES[name] ?? "The server has ended live updates. Reload the page.";
}
