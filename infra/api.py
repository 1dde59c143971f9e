"""Asks a JSON API over HTTP, for the scripts beside this. It needs Python's own library only."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid


class Refused(Exception):
    """The API did not do what it was asked; `answer` is what it said, where that was JSON."""

    def __init__(self, message, answer=None):
        super().__init__(message)
        self.answer = answer


class NoAnswer(Refused):
    """Nobody knows whether the API did what it was asked."""


class Api:
    """The API at a URL. `authorize` gives a request's further headers, for its method, URL, body and headers."""

    def __init__(self, url, authorize=lambda *_: {}):
        self.url, self.authorize, self.text = url.rstrip("/"), authorize, ""
        # A proxy knows nothing of a stack on this machine; for one in AWS the environment says whether there is one.
        local = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost")
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({} if local else None))

    def get(self, path, query=None):
        return self.ask("GET", path + ("?" + urllib.parse.urlencode(query, quote_via=quote) if query else ""))

    def post(self, path, body):
        return self.ask("POST", path, body.encode())

    def post_once(self, path, body):
        """Sends a request with an idempotency key, and again if no answer comes: it takes effect once."""
        key = {"Idempotency-Key": str(uuid.uuid4())}
        try:
            return self.ask("POST", path, body.encode(), key)
        except NoAnswer:
            return self.ask("POST", path, body.encode(), key)

    def ask(self, method, path, body=None, more=None):
        url, headers = self.url + path, ({"Content-Type": "application/json"} if body else {}) | (more or {})
        headers |= self.authorize(method, url, body, headers)
        try:
            with self.opener.open(urllib.request.Request(url, body, headers, method=method), timeout=30) as response:
                self.text = response.read().decode()
                return json.loads(self.text)
        except urllib.error.HTTPError as error:
            raise refused(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NoAnswer(f"{self.url} did not answer: {error}") from error


def refused(error):
    """What an answer that is not the one asked for has to say."""
    # The host in between has lost the answer, or the API does not know what its store has done.
    kind = NoAnswer if error.code >= 500 else Refused
    try:
        answer = json.loads(error.read())
        text = answer.get("error") or answer.get("message") or "no reason given"
    except (OSError, ValueError, AttributeError):
        return kind(f"the API answered {error.code} {error.reason}")
    for fault in answer.get("details") or []:
        text += f"\n  {fault['path'] or '/'}: {fault['message']}"
    if error.code in (401, 403):
        text += "\n  Does the stack want tokens (--token) or AWS credentials, and may yours do execute-api:Invoke?"
    return kind(f"{text} ({error.code})", answer)


def quote(text, safe="", *_):
    return urllib.parse.quote(text, safe="")
