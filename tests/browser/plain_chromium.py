#!/usr/bin/env python3
"""Starts Chromium for the tests, without what its window loads and no test sees.

For each new context, Chromium loads two pages with scripts for the list below its address bar. Both together cost more
than the pages of most tests. It also starts a process for a page that may come next.

Chromium takes the last --disable-features alone, and Playwright gives one. The features below join it.
"""

import os
import sys

DISABLE = "--disable-features="
UNSEEN = ["WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess"]

arguments = sys.argv[1:]
given = [argument.removeprefix(DISABLE) for argument in arguments if argument.startswith(DISABLE)]
os.execvp("chromium", ["chromium", *arguments, DISABLE + ",".join([*given[-1:], *UNSEEN])])  # noqa: S606
