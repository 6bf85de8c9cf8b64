// <session-update session="<session update>" action="<address>" csrf="<token>"> in a streamed page: posts the rotated
// session as soon as the parser meets the element, and then removes the element. For an event stream:
//   customElements.whenDefined("session-update").then((element) => element.follow(eventSource))
// The CSRF token then comes from the page (a form, or <meta name="csrf-token">), or else from the cookie.
// The document gets a `session-updated` event when the cookie is set. If the POST fails, the next request picks the
// session up, so nothing is lost.
"use strict";

function csrfToken() {
  const found = document.querySelector("input[name=csrfmiddlewaretoken], meta[name=csrf-token]");
  if (found) return found.content || found.value || "";
  const cookies = Object.fromEntries(document.cookie.split("; ").map((cookie) => cookie.split("=")));
  return cookies["__Host-csrftoken"] || cookies.csrftoken || "";
}

customElements.define("session-update", class SessionUpdate extends HTMLElement {
  static follow(source, action = "/accounts/session/update/") {
    source.addEventListener("session-update", (event) => {
      const element = document.createElement("session-update");
      element.setAttribute("session", JSON.parse(event.data).session);
      element.setAttribute("action", action);
      document.body.append(element);
    });
  }

  async connectedCallback() {
    const session = this.getAttribute("session");
    if (!session) return;
    this.removeAttribute("session"); // post it only once, also when the element is moved
    const csrf = this.getAttribute("csrf") || csrfToken();
    for (const pause of [0, 500, 2000, 8000]) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      let response;
      try {
        response = await fetch(this.getAttribute("action"), {
          method: "POST",
          headers: { "Content-Type": "application/json", "Accept": "application/json", "X-CSRFToken": csrf },
          body: JSON.stringify({ session }),
          keepalive: true,
        });
      } catch {
        continue; // the network failed
      }
      if (response.status >= 500) continue; // the server restarts, or a proxy cannot reach it
      if (response.ok) document.dispatchEvent(new CustomEvent("session-updated"));
      break;
    }
    this.remove();
  }
});
