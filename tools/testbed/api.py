"""A few direct requests to the API server, where starting kubectl would take too long."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from testbed.errors import ApiError


class Api:
    """One user's way to the API server: JSON in, JSON out, a connection for each request."""

    def __init__(self, url: str, ca: Path, certificate: Path, key: Path) -> None:
        self._address = urlsplit(url)
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._tls.load_cert_chain(certificate, key)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send one request.

        Raises:
            ApiError: the server refused it.
            OSError: the server could not be reached, or hung up.
        """
        text = self.text(method, path, body)
        return json.loads(text) if text else None

    def text(self, method: str, path: str, body: dict[str, Any] | None = None) -> str:
        """Like `request`, for answers that are no JSON."""
        connection = http.client.HTTPSConnection(
            self._address.hostname or "", self._address.port, context=self._tls, timeout=10
        )
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json", "User-Agent": "testbed"},
            )
            response = connection.getresponse()
            text = response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise _error(method, path, response.status, text)
        return text


def _error(method: str, path: str, code: int, text: str) -> ApiError:
    try:
        status = json.loads(text)
        message, reason = status["message"], status["reason"]
    except (ValueError, KeyError, TypeError):
        message, reason = text, ""
    return ApiError(f"{method} {path}: {code} {reason}: {message}", code, reason)
