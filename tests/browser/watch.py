"""What a browser says while a test uses it."""

from playwright.sync_api import BrowserContext, ConsoleMessage, Request


class Watch:
    """What a browser has to complain about, and what it asked the site for."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        self.asked: list[str] = []
        context.on("console", self._note)
        context.on("request", self._list)
        context.add_init_script(
            "addEventListener('securitypolicyviolation', it => console.error(it.violatedDirective, it.blockedURI));"
        )

    def count(self, path: str) -> int:
        return sum(path in url for url in self.asked)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _list(self, request: Request) -> None:
        self.asked.append(request.url)
