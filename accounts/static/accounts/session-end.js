// <div class="session-end" role="status" data-seconds="<until the session ends>" data-session="<the session's JSON>">
// Shows its content from five minutes before the end on. It is a live region: screen readers read it, and the focus stays
// where it is. The site is asked before, and when the user comes back to the page: after a new sign-in in another tab,
// the notice goes. At the end it is not asked: it would end the session, and the next page could not say why.
"use strict";

{
  const NOTICE_SECONDS = 300;
  const LONGEST_WAIT = 2 ** 31 - 1; // of setTimeout
  const notice = document.querySelector(".session-end");
  const text = notice.querySelector("strong");
  let timer;
  let endsAt = Date.now() + Number(notice.dataset.seconds) * 1000;

  const secondsLeft = () => (endsAt === null ? Infinity : (endsAt - Date.now()) / 1000);

  function words(seconds) {
    if (seconds <= 0) return "Your session has ended.";
    if (seconds <= 60) return "Your session ends in less than a minute.";
    return `Your session ends in less than ${Math.ceil(seconds / 60)} minutes.`;
  }

  // Screen readers read each change. So there are three: five minutes before the end, one minute before, and at the end.
  function show() {
    clearTimeout(timer);
    const left = secondsLeft();
    notice.firstElementChild.hidden = left > NOTICE_SECONDS;
    text.textContent = words(left);
    const next = [NOTICE_SECONDS, 60, 0].find((step) => left > step);
    if (next !== undefined && left < Infinity) timer = setTimeout(next ? ask : show, Math.min((left - next) * 1000 + 50, LONGEST_WAIT));
  }

  async function ask() {
    try {
      const response = await fetch(notice.dataset.session, { headers: { Accept: "application/json" } });
      if (response.ok) {
        const session = await response.json();
        // Without the proof of its device, the site does not say when the session ends. What the page knows counts.
        if (session.authenticated || !session.is_bound_to_device) {
          const seconds = session.authenticated ? session.session_expires_in : 0;
          endsAt = seconds === null ? null : Date.now() + seconds * 1000;
        }
      }
    } catch {
      // The network failed. What the page knows still counts.
    }
    show();
  }

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && secondsLeft() <= NOTICE_SECONDS) ask();
  });
  show();
}
