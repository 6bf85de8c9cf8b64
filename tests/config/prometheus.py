"""A real Prometheus with the site's own alert rules, and promtool. Both come with Debian's package."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import requests

from tests.load.processes import free_port, stop_process, wait_until
from tests.load.site import PROJECT

MISSING = "No Prometheus; to install it: apt-get install --no-install-recommends prometheus"
RULES = PROJECT / "config/monitoring/alerts.yml"
FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'
#: The times of the rules are so many times shorter here.
HASTE = 90
_CONFIG = {
    "global": {"scrape_interval": "1s", "evaluation_interval": "500ms"},
    "rule_files": ["alerts.yml"],
}
_SECONDS = {"m": 60, "h": 3600, "d": 86400}


def find_prometheus() -> str | None:
    return shutil.which("prometheus") if shutil.which("promtool") else None


def hasten(rules: str) -> str:
    """The rules with times that are HASTE times shorter."""

    def shorten(time: re.Match[str]) -> str:
        return f"{time[1]}{int(time[2]) * _SECONDS[time[3]] // HASTE}s"

    return re.sub(r"(\[|\bfor: )(\d+)([mhd])\b", shorten, rules)


class Prometheus:
    """Scrapes one site each second, as a context manager."""

    def __init__(self, site_port: int, token: str) -> None:
        self._port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="prometheus-"))
        target = {
            "job_name": "site",
            "authorization": {"credentials": token},
            "static_configs": [{"targets": [f"127.0.0.1:{site_port}"]}],
        }
        # JSON is YAML.
        (self._folder / "prometheus.yml").write_text(json.dumps({**_CONFIG, "scrape_configs": [target]}))
        (self._folder / "alerts.yml").write_text(hasten(RULES.read_text()))

    def __enter__(self) -> "Prometheus":
        command = [
            str(find_prometheus()),
            f"--config.file={self._folder}/prometheus.yml",
            f"--storage.tsdb.path={self._folder}/data",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(self._has_scraped, "Prometheus has read the site's metrics")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        stop_process(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Each series of the result at this moment: its labels and its value."""
        answer = requests.post(f"http://127.0.0.1:{self._port}/api/v1/query", data={"query": expression}, timeout=30)
        body: dict[str, Any] = answer.json()
        assert body["status"] == "success", f"{expression}: {body}"
        return [(series["metric"], float(series["value"][1])) for series in body["data"]["result"]]

    def firing(self) -> set[str]:
        return {labels["alertname"] for labels, _ in self.query(FIRING)}

    def _has_scraped(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"Prometheus did not start:\n{(self._folder / 'log').read_text()}")
        try:
            # Twice: a rate needs two samples.
            return any(value >= 2 for _, value in self.query("count_over_time(api_session_started_total[1h])"))
        except requests.RequestException:
            # It does not listen yet, or responds with 503 and no JSON.
            return False


class Scenario(NamedTuple):
    """Series in promtool's notation, with one value for each minute, and which alerts have to fire at which minutes."""

    name: str
    series: dict[str, str]
    firing: dict[int, set[str]]


def check_rules(folder: Path, scenarios: list[Scenario]) -> str:
    """What promtool has to say against the real rules, with their real windows; empty if they do as they should."""
    tests = [
        {
            "name": scenario.name,
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in scenario.series.items()],
            "promql_expr_test": [
                {
                    "expr": FIRING,
                    "eval_time": f"{minute}m",
                    "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names],
                }
                for minute, names in scenario.firing.items()
            ],
        }
        for scenario in scenarios
    ]
    file = folder / "rules-test.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    told = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    return "" if told.returncode == 0 else told.stdout + told.stderr
