/* A WebSocket whose server is the test (tests/browser/bench.py). Runs before any script of the page. */

window.sockets = [];

/** What Math.random gives; a test sets it to make the jitter known. */
window.luck = 0.5;
Math.random = () => window.luck;

window.WebSocket = class {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSING = 2;
  static CLOSED = 3;

  constructor(url, protocols = []) {
    this.url = url;
    this.protocols = protocols;
    this.readyState = 0;
    this.sent = [];
    this.closedWith = null;
    window.sockets.push(this);
  }

  send(text) {
    this.sent.push(text);
  }

  close(code = 1005) {
    if (this.closedWith === null) {
      this.closedWith = code;
      this.readyState = 2;
      // As on a live network: the other side answers at once.
      queueMicrotask(() => this.serverClose(code));
    }
  }

  serverOpen() {
    this.readyState = 1;
    this.onopen?.({});
  }

  serverSend(text) {
    this.onmessage?.({ data: text });
  }

  serverClose(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
};
