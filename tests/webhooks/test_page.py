"""The receiver on docs/webhooks.md works as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.mongod import free_port
from tests.serving import SECRET_KEY, START_SECONDS, environment, running_service
from tests.test_readme import README, ROOT, read_commands

PAGE = (ROOT / "docs" / "webhooks.md").read_text()


def test_the_receiver_works_as_printed(tmp_path: Path, store_url: str) -> None:
    port = str(free_port())
    [receiver] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "receiver.py").write_text(receiver.replace("9000", port))
    variables = {
        "STORE_URL": store_url,
        "SECRET_KEY": SECRET_KEY,
        "WEBHOOK_NETWORKS": "127.0.0.0/8",
    }
    with running_service(tmp_path, variables) as service:
        script = read_commands(README, "Your first todo").split("TODO=")[0] + read_commands(PAGE, "Receive events")
        script = script.replace("http://127.0.0.1:8000", service.url).replace("9000", port)
        script = script.replace("python receiver.py &", f"{sys.executable} receiver.py > printed &")
        wait = "\nuntil grep -q Water printed; do sleep 0.05; done; kill $!; wait $! || true; cat printed"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script + wait],  # noqa: S607  # the page is written for a shell
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=True,
            cwd=tmp_path,
            env=environment(tmp_path),
        )

    assert re.search(r"[0-9a-f]{24} todo\.changed Water the plants\n$", done.stdout)
