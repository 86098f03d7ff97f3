/* What a page of the article adds to its websocket.js: the root of the site, a handler, and the call. */

var $SCRIPT_ROOT = "";

window.handled = [];

function messageHandler(data) {
  switch (data["id"]) {
    case "EXAMPLE ID":
      window.handled.push(data["data"]);
      break;
    default:
      window.handled.push(`unknown: ${data["id"]}`);
  }
}

createSocket(`ws://${location.host}/websocket`, messageHandler);
