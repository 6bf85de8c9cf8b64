// The demo page /protected/script/: calls the API through this site, and shows what a script sees. It sees no token.
"use strict";

const responses = document.getElementById("responses");
const visible = document.getElementById("visible");
const OWN_COOKIES = ["csrftoken", "__Host-csrftoken"]; // no part of the session

function show(text) {
  const line = document.createElement("li");
  line.textContent = text;
  responses.append(line);
}

function showFailure(error) {
  show(`The network failed: ${error.message}`);
}

// A 401 of this site has `login`. A 401 of the API does not: the user is signed in, and may not do this.
function openSignIn(body) {
  let login;
  try {
    ({ login } = JSON.parse(body));
  } catch {
    return; // the API's own 401 need not be JSON
  }
  if (String(login).startsWith("/accounts/login/")) location.assign(login);
}

async function callApi() {
  const started = performance.now();
  const response = await fetch(responses.dataset.api, { headers: { Accept: "application/json" } });
  const body = await response.text();
  const took = Math.round(performance.now() - started);
  show(`GET ${responses.dataset.api} → ${response.status}, ${body.length} characters, ${took} ms`);
  if (response.status === 401) openSignIn(body);
}

async function showVisible() {
  const response = await fetch(responses.dataset.session, { headers: { Accept: "application/json" } });
  const { csrf_token, ...session } = await response.json();
  const cookies = document.cookie.split("; ").map((cookie) => cookie.split("=")[0]).filter(Boolean);
  const others = cookies.filter((name) => !OWN_COOKIES.includes(name));
  visible.textContent = [
    `document.cookie: ${others.length ? others.join(", ") : "nothing of the session"}`,
    `session: ${JSON.stringify(session, null, 2)}`,
  ].join("\n");
}

const calls = document.getElementById("calls");
calls.addEventListener("submit", (event) => {
  event.preventDefault();
  responses.replaceChildren();
  Promise.all(Array.from({ length: 5 }, callApi)).catch(showFailure).then(showVisible).catch(showFailure);
});
calls.hidden = false;
showVisible().catch(showFailure);
