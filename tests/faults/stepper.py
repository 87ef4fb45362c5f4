"""The child of the fault tests: appends one line a step, and goes on where the file ends.

It takes a lock on its folder, so that a second one that runs at the same time says so and is caught. A child of its
own stands for a data loader: it must not outlive the group either.
"""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

folder, steps, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with (folder / "starts").open("a") as starts:
    starts.write(f"{os.getpid()}\n")
lock = (folder / "lock").open("w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    (folder / "overlap").write_text(f"{os.getpid()} started while another still ran\n")
    sys.exit(3)
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with (folder / "pids").open("a") as pids:
    pids.write(f"{os.getpid()}\n{helper.pid}\n")
path = folder / "steps"
# A line is one write; what a kill cut off is written anew.
done = path.read_text().count("\n") if path.exists() else 0
with path.open("a") as file:
    for step in range(done, steps):
        time.sleep(pause)
        file.write(f"{step}\n")
        file.flush()
helper.terminate()
helper.wait()
