// The demo page /protected/script/: calls through this site, and what a script sees of them. No token among it.
"use strict";

const wire = document.getElementById("wire");
const visible = document.getElementById("visible");
const OWN_COOKIES = ["csrftoken"]; // what a script needs, and may see

function show(text) {
  const line = document.createElement("li");
  line.textContent = text;
  wire.append(line);
}

async function call() {
  const started = performance.now();
  const response = await fetch(wire.dataset.api, { headers: { Accept: "application/json" } });
  const body = await response.text();
  const took = Math.round(performance.now() - started);
  show(`GET ${wire.dataset.api} → ${response.status}, ${body.length} characters, ${took} ms`);
  const { login } = response.status === 401 ? JSON.parse(body) : {};
  if (login) location.assign(login); // without it, the session is good: the same call may be made again
}

async function look() {
  const session = await (await fetch(wire.dataset.session, { headers: { Accept: "application/json" } })).json();
  const cookies = document.cookie.split("; ").map((cookie) => cookie.split("=")[0]).filter(Boolean);
  const others = cookies.filter((name) => !OWN_COOKIES.includes(name));
  visible.textContent = [
    `document.cookie: ${others.length ? others.join(", ") : "nothing of the session"}`,
    `session: ${JSON.stringify(session, null, 2)}`,
  ].join("\n");
}

document.getElementById("calls").addEventListener("submit", async (event) => {
  event.preventDefault();
  wire.replaceChildren();
  await Promise.all(Array.from({ length: 5 }, call)).catch((error) => show(`The network failed: ${error.message}`));
  await look();
});
look();
