/**
 * Gets the short-lived token that authenticates a socket (docs/browser-client.md).
 *
 * The token lives in the memory of this page for as long as it takes to send it: never in a URL, a cookie or storage,
 * where a log or another script would find it.
 * @module
 */

/** The endpoint answers in milliseconds; a socket gets 10 s to authenticate, so waiting longer is for nothing. */
const TIMEOUT_MS = 8000;

/** Nobody is signed in any more: only a person can change that. */
export class SignedOut extends Error {}

/**
 * A page of another origin (REALTIME_ALLOWED_ORIGINS) has to say that the session cookie goes along; the answer decides
 * whether it may read the token.
 * @param {string} url
 * @returns {RequestCredentials}
 */
function credentialsFor(url) {
  return new URL(url, document.baseURI).origin === location.origin ? "same-origin" : "include";
}

/**
 * @param {string} url
 * @returns {Promise<string>} a new token
 * @throws {SignedOut} the endpoint answered 401
 * @throws {Error} it could not be reached, or did not give a token: try again later
 */
export async function fetchToken(url) {
  const response = await fetch(url, {
    headers: { Accept: "application/json" },
    credentials: credentialsFor(url),
    cache: "no-store",
    // A redirect means a login page: its HTML is no token.
    redirect: "error",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (response.status === 401) {
    throw new SignedOut("You are signed out. Sign in again to see live updates.");
  }
  if (!response.ok) {
    throw new Error(`the token endpoint answered ${response.status}`);
  }
  const { token } = await response.json();
  if (typeof token !== "string" || token === "") {
    throw new Error("the token endpoint gave no token");
  }
  return token;
}
