"""The installation's secret: one, kept, and its owner's alone."""

import stat
from concurrent.futures import ThreadPoolExecutor

from backend.kit.secret import installation_secret


def test_processes_that_start_together_share_one_secret(tmp_path):
    home = tmp_path / "new" / "home"
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: installation_secret(home), range(32)))
    assert len(found) == 1 and len(found.pop()) == 32
    assert [path.name for path in home.iterdir()] == ["secret.key"]
    assert stat.S_IMODE((home / "secret.key").stat().st_mode) == 0o600
    assert installation_secret(tmp_path / "another") != installation_secret(home)
