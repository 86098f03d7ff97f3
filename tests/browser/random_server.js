/*
 * A server, a network and a page by chance, from a seed (tests/browser/test_client_random.py).
 *
 * The world is a table for each stream; a durable event sets one row of it, numbered as docs/protocol.md says. The page
 * has a copy that it changes by events and snapshots only. In the end the copies have to be equal, and each event has
 * to have been applied once, after the one before it.
 */

const STREAMS = ["user", "all", "topic.a"];

/** mulberry32: small, and the same in every browser. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Timers and a clock that move by `fire` only. */
class Clock {
  now = 1_000_000;
  #timers = new Map();
  #last = 0;

  install() {
    window.setTimeout = (callback, ms = 0) => {
      this.#last += 1;
      this.#timers.set(this.#last, { at: this.now + ms, callback });
      return this.#last;
    };
    window.clearTimeout = (id) => this.#timers.delete(id);
    Date.now = () => this.now;
  }

  /** The next timer, whenever it is due. */
  fire() {
    const [id, timer] = [...this.#timers].sort(([, one], [, other]) => one.at - other.at)[0] ?? [];
    if (id !== undefined) {
      this.#timers.delete(id);
      this.now = Math.max(this.now, timer.at);
      timer.callback();
    }
  }

  /** Whether one is due within this time. */
  due(ms) {
    return [...this.#timers.values()].some(({ at }) => at <= this.now + ms);
  }
}

class World {
  constructor() {
    this.epochs = 0;
    const empty = () => ({ epoch: "e0", head: 0, floor: 0, frames: new Map(), rows: {} });
    this.streams = new Map(STREAMS.map((name) => [name, empty()]));
  }

  commit(name, row) {
    const stream = this.streams.get(name);
    stream.head += 1;
    stream.rows[row] = `${stream.epoch}/${stream.head}`;
    const data = { row, value: stream.rows[row] };
    stream.frames.set(stream.head, { id: "row/SET", stream: name, seq: stream.head, data });
  }

  trim(name, kept) {
    const stream = this.streams.get(name);
    stream.floor = Math.max(stream.floor, stream.head - kept);
  }

  rotate(name) {
    this.epochs += 1;
    Object.assign(this.streams.get(name), { epoch: `e${this.epochs}`, head: 0, floor: 0, frames: new Map() });
  }

  cursor(names = STREAMS) {
    return Object.fromEntries(names.map((name) => [name, pick(this.streams.get(name))]));
  }

  state(names = STREAMS) {
    return Object.fromEntries(names.map((name) => [name, { ...this.streams.get(name).rows }]));
  }
}

const pick = ({ epoch, head }) => ({ epoch, seq: head });

/** One connection, by the protocol's rules of resume. */
class Connection {
  constructor(world, socket) {
    this.world = world;
    this.socket = socket;
    this.cursors = null;
    socket.serverOpen();
    this.say("AUTH REQUEST", { reason: "connect" });
  }

  get alive() {
    return this.socket.readyState === 1;
  }

  say(id, data) {
    this.socket.serverSend(JSON.stringify({ id, data }));
  }

  /** Answers AUTH once it is there. */
  admit() {
    const auth = this.socket.sent.find((text) => text.startsWith('{"id":"AUTH"'));
    if (auth === undefined || this.cursors !== null) {
      return;
    }
    const { since } = JSON.parse(auth).data;
    const verdicts = STREAMS.map((name) => [name, this.verdict(name, since?.[name])]);
    this.cursors = new Map(verdicts.map(([name, { epoch, seq, replay }]) => [name, { epoch, seq: seq - replay }]));
    this.say("AUTH OK", { heartbeat: 45, streams: Object.fromEntries(verdicts) });
  }

  verdict(name, since) {
    const { epoch, head, floor } = this.world.streams.get(name);
    const at = { epoch, seq: head, replay: 0, ...(name === "topic.a" ? { topic: "a" } : {}) };
    if (since === undefined) {
      return { ...at, state: "new" };
    }
    if (since.epoch !== epoch || since.seq > head) {
      return { ...at, state: "gap", reason: "epoch" };
    }
    if (since.seq < floor) {
      return { ...at, state: "gap", reason: "trimmed" };
    }
    return { ...at, state: "recovered", replay: head - since.seq };
  }

  /** The next event of a stream, or GAP where there is none any more; false when all is sent. */
  send(name) {
    const { epoch, head, floor, frames } = this.world.streams.get(name);
    const cursor = this.cursors.get(name);
    if (cursor.epoch !== epoch || cursor.seq < floor) {
      this.cursors.set(name, { epoch, seq: head });
      this.say("GAP", { stream: name, epoch, seq: head, reason: cursor.epoch === epoch ? "trimmed" : "epoch" });
      return true;
    }
    if (cursor.seq === head) {
      return false;
    }
    cursor.seq += 1;
    this.socket.serverSend(JSON.stringify(frames.get(cursor.seq)));
    return true;
  }

  /** An event that was sent before. */
  repeat(name, back) {
    const { epoch, frames } = this.world.streams.get(name);
    const cursor = this.cursors.get(name);
    const frame = frames.get(cursor.seq - back);
    if (cursor.epoch === epoch && frame !== undefined) {
      this.socket.serverSend(JSON.stringify(frame));
    }
  }
}

/** The page: its copy of the world, and what is wrong with how it changed. */
class Page {
  constructor(cursor, state) {
    this.cursor = cursor;
    this.state = state;
    this.faults = [];
    this.requests = [];
    this.counts = { applied: 0, snapshots: 0, gaps: 0, replayed: 0 };
  }

  apply({ stream, seq, data }) {
    if (seq === undefined) {
      return;
    }
    const last = this.cursor[stream];
    if (last === null || seq !== last.seq + 1 || !data.value.startsWith(`${last.epoch}/`)) {
      this.faults.push(`${stream} ${data.value} was applied after ${JSON.stringify(last)}`);
    }
    this.cursor[stream] = { epoch: data.value.split("/")[0], seq };
    this.state[stream][data.row] = data.value;
    this.counts.applied += 1;
  }

  show(cursor, state) {
    for (const [stream, position] of Object.entries(cursor)) {
      const last = this.cursor[stream];
      if (last !== null && last.epoch === position.epoch && position.seq < last.seq) {
        this.faults.push(`${stream} was taken back from ${last.seq} to ${position.seq}`);
      }
      this.cursor[stream] = position;
      this.state[stream] = state[stream];
    }
    this.counts.snapshots += 1;
  }

  /** Between a gap and its snapshot nothing of the stream may be applied. */
  lost(stream) {
    this.cursor[stream] = null;
    this.counts.gaps += 1;
  }

  changed({ stream, state, replay }) {
    if (state === "recovered") {
      this.counts.replayed += replay;
    } else if (state === "new") {
      this.faults.push(`${stream} was new although the page had a cursor`);
    }
  }
}

const flush = async () => {
  for (let turn = 0; turn < 12; turn += 1) {
    await null;
  }
};

/** @returns {Promise<{faults: string[], counts: object}>} */
export async function run(connect, seed, steps) {
  const random = generator(seed);
  const chance = (share) => random() < share;
  const upto = (most) => Math.floor(random() * most);
  const any = (list) => list[upto(list.length)];
  const clock = new Clock();
  clock.install();
  Math.random = random;
  window.sockets = [];
  window.fetch = async () => ({ ok: true, status: 200, json: async () => ({ token: "t" }) });
  console.warn = () => {};

  const world = new World();
  for (let n = upto(5); n > 0; n -= 1) {
    world.commit(any(STREAMS), upto(3));
  }
  /** Pictures of the past, which a replica that lags may still show. */
  const past = [];
  const cursor = world.cursor();
  if (chance(0.5)) {
    world.commit(any(STREAMS), upto(3));
  }
  const page = new Page({ ...cursor }, world.state());
  const client = connect({
    cursor,
    onEvent: (event) => page.apply(event),
    onStream: (change) => page.changed(change),
    onGap: (stream) => page.lost(stream),
    snapshot: (request) => new Promise((resolve, reject) => page.requests.push({ request, resolve, reject })),
  });
  let connection = null;

  const answer = ({ request, resolve, cursor, state }) => {
    const names = request.streams.map(({ stream }) => stream);
    // Either all that the page shows, or what was asked for alone.
    const shown = state.whole ? STREAMS : names;
    const part = (from) => Object.fromEntries(shown.map((name) => [name, from[name]]));
    resolve({ cursor: part(cursor), apply: () => page.show(part(cursor), part(state.rows)) });
  };
  const live = () => connection !== null && connection.alive;
  const acts = [
    () => world.commit(any(STREAMS), upto(3)),
    () => world.commit(any(STREAMS), upto(3)),
    () => live() && connection.cursors !== null && connection.send(any(STREAMS)),
    () => live() && connection.cursors !== null && connection.send(any(STREAMS)),
    () => live() && connection.cursors !== null && connection.send(any(STREAMS)),
    () => live() && connection.cursors !== null && connection.repeat(any(STREAMS), upto(3)),
    () => live() && connection.say("note", null),
    () => live() && connection.admit(),
    () => live() && connection.admit(),
    () => chance(0.2) && live() && connection.socket.serverClose(1006),
    () => chance(0.3) && world.trim(any(STREAMS), upto(3)),
    () => chance(0.1) && world.rotate(any(STREAMS)),
    () => past.push({ cursor: world.cursor(), rows: world.state() }),
    () => clock.due(20_000) && clock.fire(),
    () => {
      const socket = window.sockets.at(-1);
      if (socket?.readyState === 0) {
        connection = new Connection(world, socket);
      }
    },
    // A snapshot: its cursor is read, time passes, its state is read, time passes, it arrives. Or it is from a replica.
    () => {
      const asked = page.requests.find((one) => one.cursor === undefined);
      if (asked !== undefined) {
        const picture = chance(0.2) && past.length > 0 ? any(past) : null;
        asked.cursor = picture?.cursor ?? world.cursor();
        asked.rows = picture?.rows;
      }
    },
    () => {
      const asked = page.requests.find((one) => one.cursor !== undefined && one.state === undefined);
      if (asked !== undefined) {
        asked.state = { rows: asked.rows ?? world.state(), whole: chance(0.6) };
      }
    },
    () => {
      const index = page.requests.findIndex((one) => one.state !== undefined);
      if (index >= 0) {
        const [asked] = page.requests.splice(index, 1);
        if (chance(0.3)) {
          asked.reject(new Error("no network"));
        } else {
          answer(asked);
        }
      }
    },
  ];
  for (let step = 0; step < steps; step += 1) {
    any(acts)();
    await flush();
  }

  // Calm: all works again, until nothing is left to do.
  for (let turn = 0; turn < 300; turn += 1) {
    const socket = window.sockets.at(-1);
    if (socket?.readyState === 0) {
      connection = new Connection(world, socket);
    } else if (!live() || clock.due(0)) {
      clock.fire();
    } else {
      connection.admit();
      await flush();
      if (connection.cursors !== null) {
        connection.socket.serverSend("<3");
        while (STREAMS.some((name) => live() && connection.send(name))) {
          // until all is sent
        }
      }
      const asked = page.requests.shift();
      if (asked !== undefined) {
        answer({ ...asked, cursor: world.cursor(), state: { rows: world.state(), whole: true } });
      } else if (clock.due(40_000)) {
        clock.fire();
      }
    }
    await flush();
  }
  client.close();

  const sorted = (rows) => JSON.stringify(Object.entries(rows).sort());
  for (const [name, { rows }] of world.streams) {
    if (sorted(page.state[name]) !== sorted(rows)) {
      page.faults.push(`the page shows ${sorted(page.state[name])} of ${name}, and it is ${sorted(rows)}`);
    }
  }
  return { faults: page.faults, counts: page.counts };
}
