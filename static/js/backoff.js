/**
 * How long to wait before the next try (docs/browser-client.md): full jitter, so that ten thousand tabs that lost one
 * node do not come back in the same second.
 * @module
 */

/** A person hardly notices half a second; fewer would hammer a server that refuses at once. */
const MIN_MS = 500;

/** Where doubling ends at first: a server that restarts has its pages back within 5 s. */
const SOON_MS = 5_000;

/** So many tries take about 40 s. What is not back by then takes long anyway. */
const SOON_TRIES = 16;
const MAX_MS = 30_000;

/**
 * @param {number} attempt 0 for the first try after a loss
 * @returns {number} milliseconds, uniform between 0.5 s and min(5 s, 1 s · 2^attempt), later 30 s
 */
export function backoffMs(attempt) {
  const cap = attempt < SOON_TRIES ? Math.min(SOON_MS, 1000 * 2 ** attempt) : MAX_MS;
  return Math.round(MIN_MS + Math.random() * (cap - MIN_MS));
}
