// The page of /protected/events/: opens the same address as an EventSource and shows each event. The browser reconnects
// by itself, and then gets the rows after the last one.
"use strict";

const list = document.getElementById("events");
const liveStatus = document.getElementById("live-status");
const button = document.getElementById("live");
let source;
let failure = ""; // what the stream said last, if it ended early

function showRow({ number, row }) {
  const item = document.createElement("li");
  item.value = number;
  Object.entries(row).forEach(([name, value], index) => {
    const label = document.createElement("span");
    label.className = "quiet";
    label.textContent = name;
    item.append(index ? " · " : "", label, ` ${value}`);
  });
  list.append(item);
  failure = "";
  liveStatus.textContent = "Live: new events appear below.";
}

function showFailure({ detail, login }) {
  failure = detail;
  if (!login) return; // the browser asks once more, or again and again
  stop(detail);
  const link = document.createElement("a");
  link.href = login;
  link.textContent = "Sign in again";
  liveStatus.append(" ", link);
}

function showBrokenConnection() {
  if (source.readyState === EventSource.CLOSED) {
    stop(`${failure} The events have stopped. Reload the page to begin again.`);
  } else {
    liveStatus.textContent = `${failure || "The connection broke off."} Your browser connects again.`;
  }
}

function start() {
  list.replaceChildren();
  failure = "";
  liveStatus.textContent = "Waiting for the first event.";
  button.textContent = "Stop";
  source = new EventSource(location.href);
  customElements.whenDefined("session-update").then((element) => element.follow(source));
  source.addEventListener("message", (event) => showRow(JSON.parse(event.data)));
  source.addEventListener("end", () => stop("That was all."));
  source.addEventListener("failure", (event) => showFailure(JSON.parse(event.data)));
  source.addEventListener("error", showBrokenConnection);
  button.hidden = false;
}

function stop(text) {
  source.close();
  button.textContent = "Begin again";
  liveStatus.textContent = text;
}

button.addEventListener("click", () => {
  if (source.readyState === EventSource.CLOSED) start();
  else stop("Stopped.");
});
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => { if (event.persisted && button.textContent === "Stop") start(); });
start();
