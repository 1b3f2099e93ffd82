"""Stands in for a service: `python standin.py NAME --prepare`. Ready at once, ends at SIGTERM.

How it behaves is said by files in its folder: `NAME.slow` makes it ignore SIGTERM, `NAME.ends`
holds the exit code with which it ends at once, `NAME.late` after how many seconds it is ready.
"""

import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

GRANDCHILD = "import signal, sys; print('grandchild', flush=True); signal.pause()"


class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def main(name, *arguments):
    if arguments == ("--prepare",):
        print(f"prepared {os.environ['SEAWAY_DATABASE_URL']}")
    if (code := Path(f"{name}.ends")).exists():
        sys.exit(int(code.read_text()))
    slow = Path(f"{name}.slow").exists()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if slow else lambda *_: sys.exit(0))
    # One in our process group, and one that has left it but can be known by its mark.
    for apart in (False, True) if "SEAWAY_DEV" in os.environ else (False,):
        command = [sys.executable, "-c", GRANDCHILD]
        subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=apart)
    print(f"{name} is told", *(v for v in sorted(os.environ) if v.startswith("SEAWAY_")))
    print(f"{name} has pid {os.getpid()}", flush=True)
    if (seconds := Path(f"{name}.late")).exists():
        began = time.monotonic()
        time.sleep(float(seconds.read_text()))
        print(f"{name} began at {began} ready at {time.monotonic()}", flush=True)
    port = int(os.environ["SEAWAY_METRICS_PORT"])
    HTTPServer(("127.0.0.1", port), Ready).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
