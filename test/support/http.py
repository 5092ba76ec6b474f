"""A client for the HTTP port: one request, one answer; and what a scrape says."""
import base64
import http.client
import json
import socket

from . import procs


class Http:
    """The port of one proxy: give config() to it, then ask."""

    def __init__(self):
        self.lock = procs.Port()
        self.port = self.lock.number
        self.opening = False        # a proxy opens the port a moment after the one for clients

    def config(self, **more):
        self.opening = True
        return {"http_listen": f"127.0.0.1:{self.port}", **more}

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
            return True
        except ConnectionRefusedError:
            return False

    def ask(self, path, method="GET", headers=None, login=None, timeout=20, source=None):
        """Status, headers (lower case), body as text; asked from the address `source`."""
        headers = dict(headers or {})
        if self.opening:
            procs.wait_for(self._answers)
            self.opening = False
        if login:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        con = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout,
                                         source_address=(source, 0) if source else None)
        try:
            con.request(method, path, headers=headers)
            answer = con.getresponse()
            return (answer.status, {k.lower(): v for k, v in answer.getheaders()},
                    answer.read().decode("utf-8"))
        finally:
            con.close()

    def status(self, path):
        return self.ask(path)[0]

    def text(self, path):
        status, _, body = self.ask(path)
        assert status == 200, (status, body)
        return body

    def json(self, path):
        return json.loads(self.text(path))

    def scrape(self):
        return Scrape(self.text("/metrics"))

    def close(self):
        self.lock.release()


class Scrape:
    """The families of a page, read by Prometheus' own parser, which refuses what is not OpenMetrics."""

    def __init__(self, text):
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
        self.text = text
        self.families = {f.name: f for f in text_string_to_metric_families(text)}

    def get(self, sample, **labels):
        """The one value of the samples of that name with these labels (and perhaps others); None: none."""
        found = self.all(sample, **labels)
        assert len(found) <= 1, found
        return found[0].value if found else None

    def sum(self, sample, **labels):
        return sum(s.value for s in self.all(sample, **labels))

    def all(self, sample, **labels):
        return [s for f in self.families.values() for s in f.samples
                if s.name == sample and labels.items() <= s.labels.items()]
