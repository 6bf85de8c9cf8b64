// <session-update session="<hand-off>" action="<address>" csrf="<token>">: a streamed page hands over its rotated
// session. Posts it as soon as the parser meets it, and leaves the page. For an event stream:
//   customElements.get("session-update").follow(eventSource)
// The document hears `session-updated` when the cookie is set. What fails is no loss: the next request catches up.
"use strict";

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
    this.removeAttribute("session"); // once, also when the element is moved
    const csrf = this.getAttribute("csrf") || /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] || "";
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
        continue; // the network failed, not the site
      }
      if (response.status >= 500) continue; // a server that is being restarted, or a proxy that misses it
      if (response.ok) document.dispatchEvent(new CustomEvent("session-updated"));
      break;
    }
    this.remove();
  }
});
