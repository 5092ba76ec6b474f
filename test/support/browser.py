"""Headless Chromium, spoken to through its debugging pipe: open a page, ask it, take its picture.

The pipe is file descriptors 3 and 4 of the browser and carries JSON messages ended by a zero byte, so
nothing but the browser is needed.
"""
import base64
import json
import os
import select
import shutil
import time

from . import procs


def program():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    def __init__(self, width=1280, height=1700):
        self.dir = procs.temp_dir("penstock-browser-")
        to_read, self.write_fd = os.pipe()
        self.read_fd, to_write = os.pipe()
        for fd in (to_read, to_write):
            os.set_inheritable(fd, True)
        # The shell puts the pipe where the browser looks for it (not every shell takes such numbers).
        line = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        self.child = procs.Child(
            ["/bin/bash", "-c", line, "bash", program(), "--headless=new", "--remote-debugging-pipe", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
             f"--user-data-dir={self.dir}/profile", f"--window-size={width},{height}", "about:blank"],
            log=f"{self.dir}/log", env={**os.environ, "HOME": self.dir}, cwd=self.dir, pass_fds=(to_read, to_write))
        os.close(to_read)
        os.close(to_write)
        self.number, self.rest, self.events = 0, b"", []
        targets = self.call("Target.getTargets", session=False)["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", session=False, targetId=page["targetId"],
                                 flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    # messages
    def _next(self, timeout):
        end = time.monotonic() + timeout
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read_fd], [], [], max(0, end - time.monotonic()))
            more = os.read(self.read_fd, 1 << 16) if ready else b""
            if not more:
                raise RuntimeError("the browser does not answer:\n" + self.child.text()[-2000:])
            self.rest += more
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)

    def call(self, method, session=True, timeout=30, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = self.session
        os.write(self.write_fd, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next(timeout)
            if got.get("id") == self.number:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']}")
                return got["result"]
            self.events.append(got)

    # pages
    def open(self, url):
        self.call("Page.navigate", url=url)

    def eval(self, script):
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in got:
            raise RuntimeError(got["exceptionDetails"]["exception"].get("description"))
        return got["result"].get("value")

    def wait(self, script, timeout=20):
        return procs.wait_for(lambda: self.eval(script), timeout, lambda: f"{script} in:\n"
                              + str(self.eval("document.body && document.body.innerText"))[:3000], step=0.1)

    def prefer(self, scheme):
        """light or dark, as the system would say."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path):
        got = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        with open(path, "wb") as f:
            f.write(base64.b64decode(got["data"]))
        return path

    def complaints(self):
        """Errors of scripts, and what the policy refused."""
        self.eval("1")
        out = []
        for e in self.events:
            if e.get("method") == "Runtime.exceptionThrown":
                details = e["params"]["exceptionDetails"]
                out.append(details.get("exception", {}).get("description") or details["text"])
            if e.get("method") == "Log.entryAdded" and e["params"]["entry"]["level"] == "error":
                out.append(e["params"]["entry"]["text"])
        return out

    def requests(self):
        self.eval("1")
        return {e["params"]["request"]["url"] for e in self.events
                if e.get("method") == "Network.requestWillBeSent"}

    def close(self):
        try:
            self.call("Browser.close", session=False, timeout=5)
            self.child.wait(10)
        except (RuntimeError, OSError, procs.subprocess.TimeoutExpired):
            pass
        self.child.kill()
        os.close(self.write_fd)
        os.close(self.read_fd)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
