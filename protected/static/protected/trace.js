// The request trace: adds each new request at the top and announces it to screen readers. It never moves the focus.
"use strict";

const list = document.getElementById("requests");
const liveStatus = document.getElementById("live-status");
const button = document.getElementById("live");
const most = Number(list.dataset.most);
let source;
let last = new URL(list.dataset.events, location).searchParams.get("after");

function show({ html, summary }) {
  document.getElementById("no-requests")?.remove();
  const template = document.createElement("template");
  template.innerHTML = html;
  const item = template.content.firstElementChild;
  const previous = document.getElementById(item.id);
  if (previous) {
    // The end of a streamed request: the reader stays where they are.
    item.querySelector("details").open = previous.querySelector("details").open;
    const hadFocus = previous.contains(document.activeElement);
    previous.replaceWith(item);
    if (hadFocus) item.querySelector("summary").focus({ preventScroll: true });
  } else {
    list.prepend(item);
    while (list.children.length > most) list.lastElementChild.remove();
  }
  liveStatus.textContent = `${previous ? "Ended" : "New"}: ${summary}`;
}

function startLive() {
  source = new EventSource(`${list.dataset.events.split("?")[0]}?after=${last}`);
  source.addEventListener("request", (event) => {
    last = event.lastEventId;
    show(JSON.parse(event.data));
  });
  source.addEventListener("failure", (event) => {
    const { detail, login } = JSON.parse(event.data);
    if (!login) { // the browser reconnects by itself
      liveStatus.textContent = `${detail} New requests will appear when it does.`;
      return;
    }
    stopLive(detail);
    const link = document.createElement("a");
    link.href = login;
    link.textContent = "Sign in again";
    liveStatus.append(" ", link);
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      stopLive("Live updates have stopped. Reload the page to see new requests.");
    }
  });
  button.textContent = "Pause";
  liveStatus.textContent = "Live: new requests appear below.";
}

function stopLive(text) {
  source.close();
  button.textContent = "Resume";
  liveStatus.textContent = text;
}

button.addEventListener("click", () => {
  if (source.readyState === EventSource.CLOSED) startLive();
  else stopLive("Paused.");
});
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => { if (event.persisted && button.textContent === "Pause") startLive(); });
button.hidden = false;
startLive();
