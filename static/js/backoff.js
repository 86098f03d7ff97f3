/**
 * How long to wait before the next try (docs/browser-client.md): full jitter, so that ten thousand tabs that lost one
 * node do not come back in the same second.
 * @module
 */

/** A person hardly notices half a second; fewer would hammer a server that refuses at once. */
const MIN_MS = 500;

/** Where doubling ends: a broker or a database is back within this time, or it takes long anyway. */
const MAX_MS = 30_000;

/**
 * @param {number} attempt 0 for the first try after a loss
 * @returns {number} milliseconds, uniform between 0.5 s and min(30 s, 1 s · 2^attempt)
 */
export function backoffMs(attempt) {
  // 2^5 s is above the maximum already; the bound keeps a tab that was left for days from overflowing.
  const cap = Math.min(MAX_MS, 1000 * 2 ** Math.min(attempt, 5));
  return Math.round(MIN_MS + Math.random() * (cap - MIN_MS));
}
