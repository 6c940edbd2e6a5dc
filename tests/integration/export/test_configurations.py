"""The examples in deploy/ are taken by the programs that they are for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from penstock.export.rules import rules
from tests.support.prometheus import program

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


def run(name: str, *arguments: str) -> None:
    done = subprocess.run([*program(name), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_with_the_rules_beside_it(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "prometheus" / "prometheus.yml", tmp_path)
    (tmp_path / "rules.yml").write_text(rules([], with_incidents=False))

    run("promtool", "check", "config", str(tmp_path / "prometheus.yml"))


def test_alertmanager_takes_its_configuration() -> None:
    run("amtool", "check-config", str(DEPLOY / "alertmanager" / "alertmanager.yml"))


def test_what_pages_and_what_does_not_go_to_different_people() -> None:
    config = str(DEPLOY / "alertmanager" / "alertmanager.yml")

    for severity, receiver in (("page", "on-call"), ("ticket", "tickets")):
        run(
            *("amtool", "config", "routes", "test", f"--config.file={config}", f"--verify.receivers={receiver}"),
            *("alertname=PenstockIncident", "model=digits", f"severity={severity}"),
        )
