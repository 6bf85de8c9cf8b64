// The drawn exchange: puts each new request on top, says so in a line that screen readers speak, and takes no focus.
"use strict";

const list = document.getElementById("requests");
const news = document.getElementById("news");
const button = document.getElementById("live");
const most = Number(list.dataset.most);
let source;
let last = new URL(list.dataset.events, location).searchParams.get("after");

function show({ html, words }) {
  document.getElementById("nothing")?.remove();
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const item = holder.content.firstElementChild;
  const known = document.getElementById(item.id);
  if (known) {
    // The rest of a stream: where its reader is in it, he stays.
    item.querySelector("details").open = known.querySelector("details").open;
    const focused = known.contains(document.activeElement);
    known.replaceWith(item);
    if (focused) item.querySelector("summary").focus({ preventScroll: true });
  } else {
    list.prepend(item);
    while (list.children.length > most) list.lastElementChild.remove();
  }
  news.textContent = `${known ? "Ended" : "New"}: ${words}`;
}

function follow() {
  source = new EventSource(`${list.dataset.events.split("?")[0]}?after=${last}`);
  source.addEventListener("request", (event) => {
    last = event.lastEventId;
    show(JSON.parse(event.data));
  });
  source.addEventListener("error", (event) => {
    if (event.data) { // of the site, and not of the network
      const { detail, login } = JSON.parse(event.data);
      stop(detail);
      if (login) {
        const link = document.createElement("a");
        link.href = login;
        link.textContent = "Sign in again";
        news.append(" ", link);
      }
    } else if (source.readyState === EventSource.CLOSED) {
      stop("This page is not live any more. Reload it to see what is new.");
    }
  });
  button.textContent = "Pause";
  news.textContent = "Live: what is new appears below.";
}

function stop(words) {
  source.close();
  button.textContent = "Go on";
  news.textContent = words;
}

button.addEventListener("click", () => {
  if (source.readyState === EventSource.CLOSED) follow();
  else stop("Paused.");
});
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => { if (event.persisted && button.textContent === "Pause") follow(); });
button.hidden = false;
follow();
