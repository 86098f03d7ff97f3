/*
 * The page's own script, as the article of 2016 has it (docs/browser-client.md). In the article it stands inline; the
 * Content-Security-Policy of this site allows files only.
 */

var ws = createSocket("ws://" + location.host + "/websocket", messageHandler);

function messageHandler(data) {
  var id = data["id"];
  switch (id) {
    case "EXAMPLE ID":
      addMessage("Example: " + JSON.stringify(data["data"]));
      break;
    case "task/PROGRESS":
      addMessage(data["data"]["label"] + ": " + data["data"]["done"] + " of " + data["data"]["total"]);
      break;
    case "task/DONE":
      addMessage(data["data"]["label"] + ": done");
      break;
    default:
      addMessage(id);
  }
}

function addMessage(text) {
  var item = document.createElement("li");
  item.textContent = text;
  document.getElementById("messages").append(item);
}
