/**
 * One socket, from its opening to its end: authentication, heartbeat, acks and topics of realtime.v1
 * (docs/browser-client.md). What happens after the end is the business of realtime.js.
 * @module
 */

import { backoffMs } from "./backoff.js";
import { HEARTBEAT, RESERVED_IDS, SUBPROTOCOL } from "./codes.js";
import { topicStream } from "./cursor.js";
import { SignedOut, fetchToken } from "./token.js";

/** From opening to AUTH OK. The server gives 10 s; this ends a socket whose server says nothing at all. */
const HANDSHAKE_MS = 20_000;

/** Beyond the announced interval: the server adds up to 8 s at random, the rest is for the network. */
const HEARTBEAT_GRACE_MS = 15_000;

/** A machine that wakes up finds out within this time that its socket is dead. */
const LOOK_EVERY_MS = 5000;

/** A frame of a client has 16 KiB at most; the rest is for the token and the user's own streams. */
const AUTH_TOPICS_MAX_BYTES = 12_000;

/** Protocol: at least every 64 events or 5 s. */
const ACK_EVERY_EVENTS = 64;
const ACK_AFTER_MS = 5000;

/** Large events fill the server's window of 1 MiB before there are 64; at 3 bytes a character this is a good third. */
const ACK_EVERY_CHARS = 128 * 1024;

/**
 * @typedef {object} SessionEnd
 * @property {number | null} code close code; null when this side gave up
 * @property {string} reason one sentence for a person
 * @property {boolean} signedOut whether the token endpoint said that nobody is signed in
 * @property {number | null} afterMs the wait that the server asked for; null: none
 */

/**
 * @typedef {object} SessionOptions
 * @property {string} url absolute ws: or wss: address
 * @property {string} tokenUrl
 * @property {ReadonlySet<string>} topics what to listen to; read when AUTH is sent and when AUTH OK comes
 * @property {import("./streams.js").Streams} streams what becomes of events
 * @property {() => void} onOnline first AUTH OK
 * @property {(topic: string, state: "subscribed" | "denied" | "revoked", reason: string) => void} onTopic
 * @property {(end: SessionEnd) => void} onEnd called once, and nothing else is called after it
 */

export class Session {
  /** @type {SessionOptions} */
  #options;
  /** @type {WebSocket} */
  #socket;
  #online = false;
  #ended = false;
  /** Counts AUTH REQUESTs: a token that was fetched for an older one is not sent. */
  #round = 0;
  /** The wait of a RECONNECT frame; its close follows. @type {number | null} */
  #afterMs = null;
  /** How long the server may be silent. */
  #silenceMs = HANDSHAKE_MS;
  /** By the wall clock, which goes on while a laptop sleeps. */
  #lastBeatAt = Date.now();
  #watchdog = 0;
  /** Events since the first AUTH OK; a refresh does not start again. */
  #received = 0;
  #acked = 0;
  #charsToAck = 0;
  #ackTimer = 0;
  /** Topics that went out with AUTH. @type {Set<string>} */
  #asked = new Set();
  #lastRef = 0;
  /** SUBSCRIBEs without an answer: ref to topic. @type {Map<number, string>} */
  #pending = new Map();

  /** @param {SessionOptions} options */
  constructor(options) {
    this.#options = options;
    this.#socket = new WebSocket(options.url, [SUBPROTOCOL]);
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = ({ code }) => this.#end({ code });
    this.#watch();
  }

  /** Ends the socket; `onEnd` is not called. */
  close() {
    this.#dispose();
    this.#socket.close(1000);
  }

  /** Ends the socket for a new one, on which the server says anew where each stream stands. */
  restart() {
    this.#giveUp("The page has to be compared with the server.");
  }

  /** Ends the socket if the server has been silent for too long: for a machine that wakes up. */
  check() {
    if (Date.now() - this.#lastBeatAt >= this.#silenceMs) {
      this.#giveUp("The server has gone silent.");
    }
  }

  /** @param {string} topic */
  subscribe(topic) {
    if (this.#online) {
      const ref = this.#ask("SUBSCRIBE", topic, this.#options.streams.sinceOf(topic));
      this.#pending.set(ref, topic);
    }
  }

  /** @param {string} topic */
  unsubscribe(topic) {
    this.#options.streams.leave(topic);
    if (this.#online) {
      this.#ask("UNSUBSCRIBE", topic);
    }
  }

  // --- frames in ---

  #receive(/** @type {unknown} */ text) {
    if (text === HEARTBEAT) {
      this.#send(HEARTBEAT);
      this.#beat();
      return;
    }
    const frame = parse(text);
    if (frame === null) {
      reportError(new Error("The server sent a frame that is neither an event nor control."));
    } else if (RESERVED_IDS.includes(frame.id)) {
      this.#control(frame.id, frame.data ?? {});
    } else if (this.#online) {
      this.#event(frame, /** @type {string} */ (text).length);
    }
  }

  #control(/** @type {string} */ id, /** @type {any} */ data) {
    switch (id) {
      case "AUTH REQUEST":
        void this.#authenticate();
        break;
      case "AUTH OK":
        this.#admit(data);
        break;
      case "SUBSCRIBED":
        this.#pending.delete(data.ref);
        this.#verdict(data.stream, data);
        this.#topicState(data.topic, data.state);
        break;
      case "UNSUBSCRIBED":
        this.#options.streams.forget(data.topic, { unasked: data.reason === "revoked" });
        if (data.reason === "revoked") {
          this.#options.onTopic(data.topic, "revoked", "You may not follow this any more.");
        }
        break;
      case "GAP":
        this.#options.streams.gap(data);
        break;
      case "RECONNECT":
        this.#afterMs = Number.isFinite(data.after_ms) ? Math.max(0, data.after_ms) : null;
        break;
      case "ERROR":
        this.#refused(data);
        break;
      default:
        // AUTH FAILED needs no answer: a new AUTH REQUEST or the close follows.
        break;
    }
  }

  #event(/** @type {object} */ frame, /** @type {number} */ chars) {
    this.#received += 1;
    this.#charsToAck += chars;
    if (this.#received - this.#acked >= ACK_EVERY_EVENTS || this.#charsToAck >= ACK_EVERY_CHARS) {
      this.#ack();
    } else if (this.#ackTimer === 0) {
      this.#ackTimer = setTimeout(() => this.#ack(), ACK_AFTER_MS);
    }
    if (!this.#options.streams.receive(frame, chars)) {
      reportError(new Error(`The server sent an event of ${frame.stream} out of order: seq ${frame.seq}.`));
      this.#giveUp("The server sent events out of order.");
    }
  }

  #admit(/** @type {any} */ { heartbeat, streams = {} }) {
    if (Number.isFinite(heartbeat)) {
      this.#silenceMs = heartbeat * 1000 + HEARTBEAT_GRACE_MS;
    }
    this.#beat();
    if (this.#online) {
      return; // a refresh
    }
    this.#online = true;
    this.#options.onOnline();
    for (const [stream, verdict] of Object.entries(streams)) {
      this.#verdict(stream, verdict);
      if (stream.startsWith("topic.")) {
        this.#topicState(verdict.topic ?? stream.slice("topic.".length), verdict.state);
      }
    }
    // What the page has changed its mind about since AUTH was sent.
    for (const topic of this.#options.topics) {
      if (!this.#asked.has(topic)) {
        this.subscribe(topic);
      }
    }
    for (const topic of this.#asked) {
      if (!this.#options.topics.has(topic)) {
        this.unsubscribe(topic);
      }
    }
  }

  #verdict(/** @type {string} */ stream, /** @type {any} */ verdict) {
    if (!this.#ended) {
      this.#options.streams.verdict(stream, verdict);
    }
  }

  #topicState(/** @type {string} */ topic, /** @type {string} */ state) {
    if (this.#ended) {
      return; // a handler has closed the connection
    }
    if (state === "denied") {
      this.#options.onTopic(topic, "denied", "You may not follow this.");
    } else {
      this.#options.onTopic(topic, "subscribed", "");
    }
  }

  #refused(/** @type {any} */ { ref, code, message }) {
    const topic = this.#pending.get(ref);
    if (topic === undefined) {
      console.warn(`realtime: ${code}: ${message}`);
    } else {
      this.#pending.delete(ref);
      this.#options.streams.forget(topic, { unasked: true });
      this.#options.onTopic(topic, "denied", message);
    }
  }

  // --- frames out ---

  async #authenticate() {
    this.#round += 1;
    const round = this.#round;
    const outdated = () => this.#ended || round !== this.#round;
    for (let attempt = 0; !outdated(); attempt += 1) {
      try {
        const token = await fetchToken(this.#options.tokenUrl);
        if (!outdated()) {
          this.#sendToken(token);
        }
        return;
      } catch (error) {
        if (outdated()) {
          return;
        }
        if (error instanceof SignedOut) {
          this.#giveUp(error.message, { signedOut: true });
          return;
        }
        if (!this.#online) {
          this.#giveUp("The server cannot sign this page in at the moment.");
          return;
        }
      }
      // A refresh: this socket is good until the old token ends, so ask again instead of dropping it.
      await new Promise((resolve) => setTimeout(resolve, backoffMs(attempt)));
    }
  }

  #sendToken(/** @type {string} */ token) {
    if (this.#online) {
      this.#sendFrame("AUTH", { token });
    } else {
      const topics = this.#fitting();
      this.#asked = new Set(topics);
      this.#sendFrame("AUTH", { token, since: this.#options.streams.since(topics), topics });
    }
  }

  /** As many topics as AUTH has room for; the others are subscribed to after it. */
  #fitting() {
    const topics = [];
    let bytes = 0;
    for (const topic of this.#options.topics) {
      const cursor = { [topicStream(topic)]: this.#options.streams.sinceOf(topic) };
      bytes += new TextEncoder().encode(JSON.stringify([topic, cursor])).length;
      if (bytes > AUTH_TOPICS_MAX_BYTES) {
        break;
      }
      topics.push(topic);
    }
    return topics;
  }

  #ask(/** @type {string} */ id, /** @type {string} */ topic, /** @type {object | undefined} */ since = undefined) {
    this.#lastRef += 1;
    this.#sendFrame(id, { topic, ref: this.#lastRef, since });
    return this.#lastRef;
  }

  #ack() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = 0;
    this.#acked = this.#received;
    this.#charsToAck = 0;
    this.#sendFrame("ACK", { n: this.#received });
  }

  #sendFrame(/** @type {string} */ id, /** @type {object} */ data) {
    this.#send(JSON.stringify({ id, data }));
  }

  #send(/** @type {string} */ text) {
    // In CLOSING, send() would only warn: the close event is under way.
    if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(text);
    }
  }

  // --- the end ---

  #beat() {
    this.#lastBeatAt = Date.now();
    this.#watch();
  }

  /** Looks often: while a machine sleeps, its timers stand still. */
  #watch() {
    clearTimeout(this.#watchdog);
    const leftMs = this.#lastBeatAt + this.#silenceMs - Date.now();
    this.#watchdog = setTimeout(
      () => {
        this.check();
        if (!this.#ended) {
          this.#watch();
        }
      },
      Math.min(LOOK_EVERY_MS, Math.max(leftMs, 0)),
    );
  }

  /** Does not wait for the other side: on a dead network the close event comes minutes later. */
  #giveUp(/** @type {string} */ reason, { signedOut = false } = {}) {
    this.#end({ code: null, reason, signedOut });
    this.#socket.close(1000);
  }

  /** @param {{code: number | null, reason?: string, signedOut?: boolean}} end */
  #end({ code, reason = "The connection was lost.", signedOut = false }) {
    if (!this.#ended) {
      this.#dispose();
      this.#options.onEnd({ code, reason, signedOut, afterMs: this.#afterMs });
    }
  }

  #dispose() {
    this.#ended = true;
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    clearTimeout(this.#watchdog);
    clearTimeout(this.#ackTimer);
  }
}

/**
 * @param {unknown} text
 * @returns {{id: string, data?: any} | null}
 */
function parse(text) {
  try {
    const frame = JSON.parse(/** @type {string} */ (text));
    return typeof frame?.id === "string" ? frame : null;
  } catch {
    return null;
  }
}
