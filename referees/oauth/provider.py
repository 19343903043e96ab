"""An OpenID Connect provider on loopback: `oidc-provider-mock`, with Authlib's access tokens of RFC 9068 for the resource
that a client names (RFC 8707).

Usage: provider.py. Prints its port.
"""

import logging
import socket
import sys
import threading
import time

import flask
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from oidc_provider_mock import app as provider
from oidc_provider_mock import _storage
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)
free = socket.socket()
free.bind(("127.0.0.1", 0))
port = free.getsockname()[1]
free.close()
issuer = f"http://127.0.0.1:{port}"


class Tokens(JWTBearerTokenGenerator):
    def get_jwks(self):
        return _storage.storage.jwk

    def get_audiences(self, client, user, scope):
        return flask.request.form.get("resource", "nobody")


# Authlib's generator asks for it.
_storage.User.get_user_id = lambda user: user.sub
app = provider()


@app.before_request
def with_tokens():
    flask.g._authlib_authorization_server.register_token_generator("default", Tokens(issuer))


server = make_server("127.0.0.1", port, app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(port, flush=True)
while True:
    time.sleep(60)
