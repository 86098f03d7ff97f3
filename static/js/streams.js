/**
 * What this page applies: each durable event once and in order, and after a gap the page's snapshot first
 * (docs/browser-client.md). It knows nothing of sockets: session.js hands in what arrives.
 * @module
 */

import { backoffMs } from "./backoff.js";
import { isPosition, topicStream } from "./cursor.js";

/** Held while a snapshot is fetched; beyond either, what is held is dropped and a newer snapshot has to cover it. */
const HELD_MAX_EVENTS = 1000;
const HELD_MAX_CHARS = 4 * 1024 * 1024;

/** A snapshot is a few queries; one that takes longer is asked for again. */
const SNAPSHOT_TIMEOUT_MS = 15_000;

/** A gap on an open socket comes to all clients at once: their snapshots are asked for within this time. */
const SPREAD_MS = 2000;

/** So many snapshots of another numbering are waited out: a node that has found one ended looks at all its streams. */
const DOUBT_AFTER = 2;

/**
 * - `recovered`: everything missed has been applied, `replay` events; 0 proves that nothing was missed
 * - `gap`: something was missed that cannot be replayed
 * - `new`: live from now on; the page had no cursor
 * - `denied`: the user may not hear it
 * @typedef {object} StreamChange
 * @property {string} stream
 * @property {string} [topic] its name, for a topic
 * @property {"recovered" | "gap" | "new" | "denied"} state
 * @property {number} replay
 * @property {string} reason of a gap: the server's `epoch`, `trimmed` or `too_many`; `unheld` when more events came
 *   than this page holds while it waits for its snapshot; `unproven` when its cursor could not be sent. Else empty
 */

/**
 * @typedef {object} SnapshotRequest
 * @property {{stream: string, topic?: string}[]} streams those with a gap; none where the page itself has asked
 * @property {AbortSignal} signal hand it to fetch
 */

/**
 * @typedef {object} Snapshot
 * @property {import("./cursor.js").Cursor} cursor read by the server before the state
 * @property {() => void} apply shows the state; called at once and not at all if the snapshot came too late
 */

/**
 * @typedef {object} StreamsOptions
 * @property {(event: any) => void} onEvent
 * @property {(change: StreamChange) => void} onStream
 * @property {(stream: string) => void} onGap
 * @property {() => void} onSnapshot a snapshot has been applied
 * @property {() => void} onDoubt the server should be asked anew where the streams stand: a new connection
 * @property {((request: SnapshotRequest) => Promise<Snapshot>) | undefined} snapshot
 */

/**
 * One stream. A new object stands for a new beginning: what is held for the old one is void.
 * @typedef {object} Place
 * @property {string} epoch
 * @property {number} seq of the last event that was applied or is held
 * @property {number} applied of the last event that was applied
 * @property {string | undefined} topic
 * @property {boolean} gap whether its state has to come from a snapshot
 * @property {number} base a snapshot has to reach this seq
 * @property {{from: number, to: number} | null} behind the replay that is under way
 * @property {boolean} left whether the page has unsubscribed: what is still under way is nothing to it
 */

export class Streams {
  /** @type {StreamsOptions} */
  #options;
  /** @type {Map<string, Place>} */
  #places = new Map();
  /** In the order of arrival. @type {{place: Place, frame: any, chars: number}[]} */
  #held = [];
  #heldChars = 0;
  /** Of the snapshot that is being fetched; null: none is. @type {AbortController | null} */
  #fetching = null;
  /** Timer of the next fetch; 0: none is due. */
  #timer = 0;
  /** Whether the page itself has asked for a snapshot that has not been applied yet. */
  #wanted = false;
  /** Snapshots in a row that came to nothing. */
  #failures = 0;
  #closed = false;

  /**
   * @param {import("./cursor.js").Cursor} cursor where the page stands
   * @param {StreamsOptions} options
   */
  constructor(cursor, options) {
    this.#options = options;
    this.add(cursor);
  }

  // --- what the page and the session ask ---

  /**
   * Takes over positions of streams that are not known yet: of others, this side knows better.
   * @param {import("./cursor.js").Cursor} cursor
   */
  add(cursor) {
    for (const [stream, position] of Object.entries(cursor)) {
      if (isPosition(position) && this.#known(stream) === undefined) {
        this.#places.set(stream, place(position));
      }
    }
  }

  /**
   * For AUTH: a new connection, on which nothing is under way.
   * @param {Iterable<string>} topics that it asks for
   * @returns {import("./cursor.js").Cursor | undefined}
   */
  since(topics) {
    const asked = new Set(Array.from(topics, (topic) => this.#streamOf(topic)));
    /** @type {import("./cursor.js").Cursor} */
    const since = {};
    for (const [stream, { left, epoch, seq }] of this.#places) {
      if (left) {
        this.#places.delete(stream);
      } else if (asked.has(stream) || !/^topic\.[^~]/.test(stream)) {
        since[stream] = { epoch, seq };
      }
    }
    return Object.keys(since).length === 0 ? undefined : since;
  }

  /**
   * @param {string} topic
   * @returns {import("./cursor.js").Position | undefined} for SUBSCRIBE
   */
  sinceOf(topic) {
    const known = this.#known(this.#streamOf(topic));
    return known && { epoch: known.epoch, seq: known.seq };
  }

  /**
   * The page has unsubscribed: its next SUBSCRIBE begins anew.
   * @param {string} topic
   */
  leave(topic) {
    const known = this.#places.get(this.#streamOf(topic));
    if (known !== undefined) {
      known.left = true;
    }
  }

  /**
   * Nothing of this topic is under way any more.
   * @param {string} topic
   * @param {{unasked: boolean}} options unasked: the server has ended it, not the page
   */
  forget(topic, { unasked }) {
    const stream = this.#streamOf(topic);
    if (unasked || this.#places.get(stream)?.left) {
      this.#places.delete(stream);
    }
  }

  /** The page doubts what it shows. */
  refresh() {
    if (this.#options.snapshot !== undefined) {
      this.#wanted = true;
      this.#fetchIn(0);
    }
  }

  /** The server can be reached again: do not sit out the wait for the next snapshot. */
  retry() {
    if (this.#timer !== 0 && this.#failures > 0) {
      clearTimeout(this.#timer);
      void this.#fetch();
    }
  }

  close() {
    this.#closed = true;
    this.#held = [];
    clearTimeout(this.#timer);
    this.#fetching?.abort();
  }

  // --- what arrives ---

  /**
   * The server's word on a stream in AUTH OK or SUBSCRIBED.
   * @param {string} stream
   * @param {any} verdict
   */
  verdict(stream, { epoch, seq, state, replay = 0, reason = "", topic }) {
    const known = this.#known(stream);
    if (state === "denied") {
      this.#places.delete(stream);
      this.#report({ stream, topic, state, replay: 0, reason: "" });
    } else if (!isPosition({ epoch, seq })) {
      this.#places.delete(stream); // a server that has no durable events
    } else if (state === "gap") {
      this.#lost(stream, { epoch, seq }, topic, reason, 0);
    } else if (known === undefined) {
      // `recovered` comes here where the page has unsubscribed meanwhile; its UNSUBSCRIBE follows.
      this.#places.set(stream, place({ epoch, seq: seq - replay }, topic));
      this.#report({ stream, topic, state: "new", replay: 0, reason: "" });
    } else if (state === "recovered" || (known.epoch === epoch && known.seq === seq)) {
      known.topic = topic;
      // A stream that waits for its snapshot is not recovered by what it has missed since.
      if (!known.gap) {
        known.behind = { from: known.behind?.from ?? known.seq, to: seq };
        this.#settle(stream, known);
      }
    } else {
      this.#lost(stream, { epoch, seq }, topic, "unproven", 0);
    }
  }

  /**
   * A GAP frame.
   * @param {any} data
   */
  gap({ stream, epoch, seq, reason = "" }) {
    const known = this.#known(stream);
    if (known !== undefined && isPosition({ epoch, seq })) {
      this.#lost(stream, { epoch, seq }, known.topic, reason, Math.random() * SPREAD_MS);
    }
  }

  /**
   * An event frame.
   * @param {any} frame
   * @param {number} chars its length
   * @returns {boolean} false: it cannot follow on what came before, so the server is wrong about this connection
   */
  receive(frame, chars) {
    if (frame.seq === undefined) {
      // It may overtake durable events, so it need not wait for a snapshot either.
      this.#options.onEvent(frame);
      return true;
    }
    const known = this.#places.get(frame.stream);
    if (known === undefined) {
      return false;
    }
    if (known.left || frame.seq <= known.seq) {
      return true;
    }
    if (frame.seq !== known.seq + 1) {
      return false;
    }
    known.seq = frame.seq;
    if (known.gap || this.#fetching !== null) {
      this.#hold({ place: known, frame, chars });
    } else {
      this.#apply(known, frame);
    }
    return true;
  }

  // --- applying ---

  #apply(/** @type {Place} */ known, /** @type {any} */ frame) {
    known.applied = frame.seq;
    this.#options.onEvent(frame);
    this.#settle(frame.stream, known);
  }

  /** Reports the end of a replay. */
  #settle(/** @type {string} */ stream, /** @type {Place} */ known) {
    const { behind, applied, topic } = known;
    if (behind !== null && applied >= behind.to) {
      known.behind = null;
      this.#report({ stream, topic, state: "recovered", replay: behind.to - behind.from, reason: "" });
    }
  }

  #lost(
    /** @type {string} */ stream,
    /** @type {import("./cursor.js").Position} */ head,
    /** @type {string | undefined} */ topic,
    /** @type {string} */ reason,
    /** @type {number} */ waitMs,
  ) {
    const gap = this.#options.snapshot !== undefined;
    this.#places.set(stream, { ...place(head, topic), gap });
    this.#reportGap(stream, topic, reason);
    if (gap) {
      this.#fetchIn(waitMs);
    }
  }

  #reportGap(/** @type {string} */ stream, /** @type {string | undefined} */ topic, /** @type {string} */ reason) {
    this.#report({ stream, topic, state: "gap", replay: 0, reason });
    if (!this.#closed) {
      this.#options.onGap(stream);
    }
  }

  #report(/** @type {StreamChange} */ change) {
    if (!this.#closed) {
      this.#options.onStream(change);
    }
  }

  // --- holding, and the snapshot ---

  #hold(/** @type {{place: Place, frame: any, chars: number}} */ one) {
    this.#held.push(one);
    this.#heldChars += one.chars;
    if (this.#held.length <= HELD_MAX_EVENTS && this.#heldChars <= HELD_MAX_CHARS) {
      return;
    }
    const dropped = new Map(this.#takeHeld().map(({ place, frame }) => [place, frame.stream]));
    for (const [known, stream] of dropped) {
      if (this.#known(stream) === known) {
        known.base = known.seq;
        known.behind = null;
        if (!known.gap) {
          known.gap = true;
          this.#reportGap(stream, known.topic, "unheld");
        }
      }
    }
  }

  #fetchIn(/** @type {number} */ ms) {
    if (this.#timer === 0 && this.#fetching === null && !this.#closed) {
      this.#timer = setTimeout(() => void this.#fetch(), ms);
    }
  }

  async #fetch() {
    this.#timer = 0;
    const asked = this.#gaps();
    if (asked.size === 0 && !this.#wanted) {
      return;
    }
    // The snapshot may show more than the streams with a gap: events of the others must not come before it either.
    for (const known of this.#places.values()) {
      if (!known.gap) {
        known.base = known.seq;
      }
    }
    this.#fetching = new AbortController();
    const snapshot = await this.#answer(Array.from(asked, ([stream, { topic }]) => ({ stream, topic })));
    this.#fetching = null;
    if (this.#closed) {
      return;
    }
    if (snapshot !== null && this.#covers(snapshot.cursor)) {
      try {
        snapshot.apply();
      } catch (error) {
        reportError(error); // the page's to see; the next snapshot would fail in the same way
      }
      this.#wanted = false;
      this.#resume(asked, snapshot.cursor);
      this.#options.onSnapshot();
    } else {
      this.#release(new Map());
      if (snapshot !== null && this.#failures >= DOUBT_AFTER && this.#inAnotherNumbering(snapshot.cursor)) {
        this.#options.onDoubt();
      }
    }
    if (this.#gaps().size === 0 && !this.#wanted) {
      this.#failures = 0;
    } else {
      this.#fetchIn(backoffMs(this.#failures));
      this.#failures += 1;
    }
  }

  /** @returns {Promise<Snapshot | null>} null: none came */
  async #answer(/** @type {{stream: string, topic?: string}[]} */ streams) {
    const { signal } = /** @type {AbortController} */ (this.#fetching);
    const timer = setTimeout(() => this.#fetching?.abort(), SNAPSHOT_TIMEOUT_MS);
    try {
      const aborted = new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(new Error("no answer in time")));
      });
      const snapshot = await Promise.race([this.#options.snapshot?.({ streams, signal }), aborted]);
      if (typeof snapshot?.cursor !== "object" || typeof snapshot.apply !== "function") {
        throw new TypeError("a snapshot is { cursor, apply }");
      }
      return snapshot;
    } catch (error) {
      if (!this.#closed) {
        console.warn(`realtime: no snapshot: ${error}`);
      }
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Whether the state is new enough for each stream that it shows: an older one would take applied events back. */
  #covers(/** @type {import("./cursor.js").Cursor} */ cursor) {
    return Array.from(this.#places).every(([stream, { epoch, base }]) => {
      const position = Object.hasOwn(cursor, stream) ? cursor[stream] : undefined;
      return position === undefined || (position.epoch === epoch && position.seq >= base);
    });
  }

  /** Either the snapshot is outdated, or the server has ended a numbering and this side has not been told yet. */
  #inAnotherNumbering(/** @type {import("./cursor.js").Cursor} */ cursor) {
    return Array.from(this.#places).some(
      ([stream, { epoch }]) => Object.hasOwn(cursor, stream) && cursor[stream].epoch !== epoch,
    );
  }

  #resume(/** @type {Map<string, Place>} */ asked, /** @type {import("./cursor.js").Cursor} */ cursor) {
    /** How far the snapshot reaches. @type {Map<Place, number>} */
    const shown = new Map();
    for (const [stream, known] of this.#places) {
      if (Object.hasOwn(cursor, stream)) {
        shown.set(known, cursor[stream].seq);
        known.gap = false;
        known.seq = Math.max(known.seq, cursor[stream].seq);
        known.applied = Math.max(known.applied, cursor[stream].seq);
      } else if (asked.get(stream) === known) {
        known.gap = false; // the page shows nothing of it
      }
    }
    this.#release(shown);
    for (const [stream, known] of this.#places) {
      this.#settle(stream, known);
    }
  }

  /** Applies what is held, but for streams whose gap is still open. */
  #release(/** @type {Map<Place, number>} */ shown) {
    for (const one of this.#takeHeld()) {
      const { place: known, frame } = one;
      if (this.#closed) {
        return;
      }
      if (this.#known(frame.stream) !== known) {
        continue; // the page has left it, or it has begun anew
      }
      if (known.gap) {
        this.#held.push(one);
        this.#heldChars += one.chars;
      } else if (frame.seq > (shown.get(known) ?? -1)) {
        this.#apply(known, frame);
      }
    }
  }

  #takeHeld() {
    const held = this.#held;
    this.#held = [];
    this.#heldChars = 0;
    return held;
  }

  #gaps() {
    return new Map(Array.from(this.#places).filter(([, { gap, left }]) => gap && !left));
  }

  /** @returns {Place | undefined} */
  #known(/** @type {string} */ stream) {
    const known = this.#places.get(stream);
    return known?.left ? undefined : known;
  }

  #streamOf(/** @type {string} */ topic) {
    for (const [stream, known] of this.#places) {
      if (known.topic === topic) {
        return stream;
      }
    }
    return topicStream(topic);
  }
}

/**
 * @param {import("./cursor.js").Position} position
 * @param {string | undefined} topic
 * @returns {Place}
 */
function place({ epoch, seq }, topic = undefined) {
  return { epoch, seq, applied: seq, topic, gap: false, base: seq, behind: null, left: false };
}
