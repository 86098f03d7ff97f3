/**
 * Live events from the server in a web page (docs/browser-client.md).
 *
 *     import { connect } from "…/message_flow/js/realtime.js";
 *     connect({ onEvent: (event) => console.log(event.id, event.data) });
 *
 * This file decides when there is a socket: first try, reconnects, and when to stop for good. What is said on a
 * socket stands in session.js, what becomes of an event in streams.js.
 * @module
 */

import { backoffMs } from "./backoff.js";
import { stopSentence, stops } from "./codes.js";
import { pageCursor } from "./cursor.js";
import { Session } from "./session.js";
import { Streams } from "./streams.js";

export { CLOSE_CODES, RESERVED_IDS, SUBPROTOCOL } from "./codes.js";

/** A session shorter than this does not count as a recovery: a server that lets in and drops is not hammered. */
const STABLE_MS = 10_000;

/**
 * @typedef {object} RealtimeEvent
 * @property {string} id
 * @property {any} data
 * @property {string} [stream]
 * @property {number} [seq] its place in the stream; none: the event is ephemeral
 * @property {string} [title] what `notify` was given
 * @property {string} [url] likewise
 * @property {number} [unread] the user's unread notifications, where the event is about them
 * @property {string} [mid] the same in every copy of the event
 * @property {number} [ts] unix time in seconds
 */

/**
 * - `connecting`: a socket is being opened and authenticated
 * - `online`: authenticated; events arrive
 * - `offline`: lost; the next try comes by itself
 * - `signed-out`: nobody is signed in; final
 * - `stopped`: the server or the page has ended it; final
 * @typedef {"connecting" | "online" | "offline" | "signed-out" | "stopped"} State
 */

/**
 * @typedef {object} StateChange
 * @property {State} state
 * @property {number | null} code close code, where one brought this state
 * @property {string} reason one sentence for a person; empty when all is well
 * @property {number | null} retryInMs `offline` only
 */

/**
 * @typedef {object} TopicChange
 * @property {string} topic
 * @property {"subscribed" | "denied" | "revoked"} state the last two are final for this page
 * @property {string} reason one sentence for a person; empty when subscribed
 */

/**
 * @typedef {object} Options
 * @property {string} [url] of the socket; relative or http(s) addresses become ws(s); default /websocket
 * @property {string} [tokenUrl] default /socket_auth_token
 * @property {import("./cursor.js").Cursor} [cursor] where the page's state was read; default: what the page carries
 *   by `{% realtime_cursor %}`, if it does
 * @property {(event: RealtimeEvent) => void} [onEvent] durable events of a stream in order, each once
 * @property {(change: import("./streams.js").StreamChange) => void} [onStream]
 * @property {(stream: string) => void} [onGap] events of this stream were missed for good
 * @property {(request: import("./streams.js").SnapshotRequest) => Promise<import("./streams.js").Snapshot>} [snapshot]
 *   loads the page's state anew after a gap; without it the stream goes on from its head
 * @property {(change: StateChange) => void} [onState] called at the earliest after `connect` has returned
 * @property {(change: TopicChange) => void} [onTopic]
 * @property {Iterable<string>} [topics]
 */

/** The first one of this page that it has not closed. @type {Connection | null} */
let first = null;

/**
 * Opens the connection and keeps it open.
 * @param {Options} [options]
 * @returns {Connection}
 * @throws {SyntaxError | TypeError} `url` is no address
 */
export function connect(options = {}) {
  const connection = new Connection(options);
  if (first === null || first.state === "stopped") {
    first = connection;
  }
  return connection;
}

/**
 * The connection of this page, for a part of it that brings a script of its own (bell.js): the one that the page has
 * opened by the time when its scripts have run, or else a new one without handlers.
 * @param {Options} [options] of the new one
 * @returns {Promise<Connection>}
 */
export async function pageConnection(options) {
  await scriptsHaveRun();
  return first ?? connect(options);
}

/** @returns {Promise<unknown>} */
function scriptsHaveRun() {
  return new Promise((resolve) => {
    if (document.readyState === "complete") {
      resolve(null);
    }
    document.addEventListener("DOMContentLoaded", resolve, { once: true });
    // For a script that was added between the two.
    window.addEventListener("load", resolve, { once: true });
  });
}

/**
 * Beside the handlers that the page has given, its parts hear by `addEventListener` what becomes of its streams; each
 * event's `detail` is what the handler gets.
 * - `event`, `stream`: as `onEvent` and `onStream`
 * - `snapshot`: the page's state was loaded anew; what it holds does not come as events
 */
class Connection extends EventTarget {
  /** @type {Options} */
  #options;
  #url;
  /** What the page wants to hear, whether a socket is there or not. @type {Set<string>} */
  #topics;
  /** @type {Streams} */
  #streams;
  /** @type {State} */
  #state = "connecting";
  /** null while there is no socket. @type {Session | null} */
  #session = null;
  /** Failed or short tries in a row. */
  #attempt = 0;
  /** When AUTH OK came on the present socket; 0 before. */
  #onlineAt = 0;
  /** Timer of the next try; 0: none is due. */
  #retry = 0;
  /** Whether the present wait was asked for by the server and must not be cut short. */
  #ordered = false;
  /** Whether AUTH OK has ever come. */
  #begun = false;
  /** Takes the listeners on window and document away. */
  #listening = new AbortController();

  /** @param {Options} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#url = socketUrl(options.url ?? "/websocket");
    this.#topics = new Set(options.topics);
    this.#streams = new Streams(options.cursor ?? pageCursor(), {
      onEvent: (event) => {
        call(options.onEvent, event);
        this.#tell("event", event);
      },
      onStream: (change) => {
        call(options.onStream, change);
        this.#tell("stream", change);
      },
      onGap: (stream) => call(options.onGap, stream),
      onSnapshot: () => this.#tell("snapshot", null),
      onDoubt: () => this.#session?.restart(),
      snapshot: options.snapshot,
    });
    const { signal } = this.#listening;
    window.addEventListener("online", () => this.#wake(), { signal });
    window.addEventListener("pageshow", () => this.#wake(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake(), { signal });
    this.#schedule(0);
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /** Whether it has been online: events may have come before whoever asks has listened. */
  get begun() {
    return this.#begun;
  }

  /** Ends the connection for good. */
  close() {
    if (!this.#listening.signal.aborted) {
      this.#finish("stopped", 1000, "This page has ended live updates.");
    }
  }

  /**
   * Listens to a topic from now on, on this socket and those that follow; `onTopic` tells whether it is allowed.
   * @param {string} topic
   * @param {import("./cursor.js").Cursor} [cursor] that came with the state which this topic is to follow on
   */
  subscribe(topic, cursor = {}) {
    if (!this.#topics.has(topic)) {
      this.#streams.add(cursor);
      this.#topics.add(topic);
      this.#session?.subscribe(topic);
    }
  }

  /** @param {string} topic */
  unsubscribe(topic) {
    if (this.#topics.delete(topic)) {
      this.#streams.leave(topic);
      this.#session?.unsubscribe(topic);
    }
  }

  /** Has `snapshot` called as after a gap, so that no event is lost or taken back: for a page that doubts its state. */
  refresh() {
    this.#streams.refresh();
  }

  #schedule(/** @type {number} */ ms) {
    this.#retry = setTimeout(() => this.#open(), ms);
  }

  #open() {
    this.#retry = 0;
    this.#ordered = false;
    this.#onlineAt = 0;
    this.#session = new Session({
      url: this.#url,
      tokenUrl: this.#options.tokenUrl ?? "/socket_auth_token",
      topics: this.#topics,
      streams: this.#streams,
      onOnline: () => {
        this.#onlineAt = Date.now();
        this.#begun = true;
        this.#change("online");
        this.#streams.retry();
      },
      onTopic: (topic, state, reason) => {
        if (state !== "subscribed") {
          this.#topics.delete(topic);
        }
        call(this.#options.onTopic, { topic, state, reason });
      },
      onEnd: (end) => this.#ended(end),
    });
    this.#change("connecting");
  }

  /** @param {import("./session.js").SessionEnd} end */
  #ended({ code, reason, signedOut, afterMs }) {
    this.#session = null;
    if (signedOut) {
      this.#finish("signed-out", code, reason);
    } else if (code !== null && stops(code)) {
      this.#finish("stopped", code, stopSentence(code));
    } else {
      if (this.#onlineAt !== 0 && Date.now() - this.#onlineAt >= STABLE_MS) {
        this.#attempt = 0;
      }
      this.#ordered = afterMs !== null;
      const retryInMs = afterMs ?? backoffMs(this.#attempt);
      this.#attempt += 1;
      this.#schedule(retryInMs);
      this.#change("offline", code, reason, retryInMs);
    }
  }

  /** The network or the tab is back: do not sit out a backoff, and find out whether the socket survived. */
  #wake() {
    if (this.#retry !== 0 && !this.#ordered) {
      clearTimeout(this.#retry);
      this.#open();
    } else {
      this.#session?.check();
    }
  }

  #finish(/** @type {State} */ state, /** @type {number | null} */ code, /** @type {string} */ reason) {
    this.#listening.abort();
    clearTimeout(this.#retry);
    this.#streams.close();
    this.#session?.close();
    this.#session = null;
    this.#change(state, code, reason);
  }

  #tell(/** @type {"event" | "stream" | "snapshot"} */ type, /** @type {unknown} */ detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #change(
    /** @type {State} */ state,
    /** @type {number | null} */ code = null,
    reason = "",
    /** @type {number | null} */ retryInMs = null,
  ) {
    this.#state = state;
    call(this.#options.onState, { state, code, reason, retryInMs });
  }
}

/**
 * Calls a handler of the page: its error is the page's to see (console, `window.onerror`), and ends nothing here.
 * @template T
 * @param {((value: T) => void) | undefined} handler
 * @param {T} value
 */
function call(handler, value) {
  try {
    handler?.(value);
  } catch (error) {
    reportError(error);
  }
}

/** @param {string} url */
function socketUrl(url) {
  const absolute = new URL(url, document.baseURI);
  absolute.protocol = absolute.protocol.replace(/^http/, "ws");
  return absolute.href;
}
