"""An OpenID provider with the endpoints that an API's authorizer calls. It runs until it is killed.

usage: tokens.py FOLDER STACK AUDIENCE

It writes these files into FOLDER, and at last `issuer` with its own URL:

operator        a valid token for the stack, which may look and act
owner           one that may start tasks and see inputs as well
starter         one that may look, act and start tasks
revealer        one that may see inputs alone
reader          one for AUDIENCE that may only look, in the words of Cognito
no_scope        one of somebody who is no operator
other_audience  a token for another API
other_issuer    a token that names another issuer
other_key       a token signed with another key
expired         an expired token
"""

import functools
import http.server
import json
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

HOUR = 3600
KEY_ID = "tests"


def main(folder, stack, audience):
    key, other_key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": KEY_ID, "use": "sig"}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Provider, {"keys": [public]}))
    issuer = f"http://127.0.0.1:{server.server_address[1]}"

    now = int(time.time())
    scopes = "openid tasks.read tasks.write"
    claims = {"iss": issuer, "sub": "ada", "aud": stack, "iat": now - HOUR, "exp": now + HOUR, "scope": scopes}
    tokens = {
        "operator": (claims, key),
        "reader": (claims | {"sub": "bob", "aud": audience, "scope": f"{stack}/tasks.read"}, key),
        "owner": (claims | {"sub": "dan", "scope": f"{scopes} start tasks.reveal"}, key),
        "starter": (claims | {"sub": "flo", "scope": f"{scopes} start"}, key),
        "revealer": (claims | {"sub": "cy", "scope": "tasks.reveal"}, key),
        "no_scope": (claims | {"sub": "eve", "scope": "openid email"}, key),
        "other_audience": (claims | {"aud": "stepwell-other"}, key),
        "other_issuer": (claims | {"iss": "http://127.0.0.1:1"}, key),
        "other_key": (claims, other_key),
        "expired": (claims | {"exp": now - 1}, key),
    }
    for name, (claimed, signer) in tokens.items():
        write(folder / name, jwt.encode(claimed, signer, "RS256", {"kid": KEY_ID}))
    write(folder / "issuer", issuer)
    server.serve_forever()


def write(path, text):
    """Writes atomically, so that no reader gets a part."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.rename(path)


class Provider(http.server.BaseHTTPRequestHandler):
    def __init__(self, keys, *args):
        self.keys = keys
        super().__init__(*args)

    def do_GET(self):
        issuer = f"http://{self.headers['Host']}"
        documents = {
            "/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": f"{issuer}/keys"},
            "/keys": self.keys,
        }
        document = documents.get(self.path)
        self.send_response(404 if document is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
