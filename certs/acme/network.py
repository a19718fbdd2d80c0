"""How the CA is reached: `acme.client.ClientNetwork` with what it lacks (nonces, errors, lost connections, roots).

A Network belongs to one flow at a time; `certs/acme/sessions.py` sees to that.
"""

import platform
import re
import ssl
from collections import deque
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import certifi
import requests
from acme import client, errors, messages
from josepy.b64 import b64decode, b64encode
from josepy.jwa import ES256, ES384, ES512, RS256, JWASignature
from josepy.jwk import JWK, JWKEC
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from certs.acme.outbound import address_check
from certs.acme.problems import Problem, failure, retry_after
from certs.domain.errors import AcmeFailure, AcmeRefused, AcmeRetry, InputError

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
BAD_NONCE_RETRIES = 10
LOST_CONNECTION_RETRIES = 3

# RFC 8555 §7.1.6 knows it, acme 5.9.0 does not: without it the reading of such an authorization raises.
if "expired" not in messages.Status.POSSIBLE_NAMES:
    messages.Status("expired")


class Answer(errors.Error):
    """An answer outside 2xx, with everything it said."""

    def __init__(self, problem: Problem, retry_at: datetime | None) -> None:
        super().__init__(problem.sentence)
        self.problem = problem
        self.retry_at = retry_at


class _Adapter(HTTPAdapter):
    """TLS by our own context, shared by all connections: loading the roots again for each costs 20 ms of CPU."""

    def __init__(self, context: ssl.SSLContext, retries: int) -> None:
        self._context = context
        # GET and HEAD only: a POST needs a new nonce, so it is signed again instead (Network.post).
        super().__init__(
            max_retries=Retry(
                total=retries,
                connect=min(retries, 1),
                status=0,
                redirect=0,
                allowed_methods={"GET", "HEAD"},
                backoff_factor=0.2,
                raise_on_status=False,
                respect_retry_after_header=False,
            )
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"


@lru_cache(maxsize=32)
def trust_context(ca_bundle: str = "") -> ssl.SSLContext:
    """The system's roots and, besides them, those of `ca_bundle` (PEM). Raises InputError for an unusable bundle."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(certifi.where())  # a machine without a store of its own
    if ca_bundle.strip():
        try:
            context.load_verify_locations(cadata=ca_bundle)
        except (ssl.SSLError, ValueError, TypeError) as error:
            raise InputError(
                "The CA bundle is not readable.", advice="Give the PEM text of the CA's root certificate."
            ) from error
    return context


class Network(client.ClientNetwork):
    """`key` None makes one that can only read. Every failure leaves as AcmeRefused, AcmeRetry or InputError."""

    def __init__(
        self,
        key: JWK | None = None,
        *,
        label: str,
        version: str,
        ca_bundle: str = "",
        allow_private: bool = False,
        read_seconds: float = READ_SECONDS,
        retries: int = LOST_CONNECTION_RETRIES,
    ) -> None:
        user_agent = f"Bindery/{version} (acme; Python {platform.python_version()})"
        super().__init__(key, alg=_algorithm(key), user_agent=user_agent)
        self.label = label
        self._pool: deque[str] = deque()
        self._allow_private = allow_private
        self._checked: set[str] = set()
        self._timeout = (min(CONNECT_SECONDS, read_seconds), read_seconds)
        self._proxied = False
        self.session.mount("https://", _Adapter(trust_context(ca_bundle), retries))

    def close(self) -> None:
        self.session.close()

    def get(self, url: str, content_type: str = client.ClientNetwork.JSON_CONTENT_TYPE, **kwargs: Any) -> Any:
        try:
            return super().get(url, content_type, **kwargs)
        except Answer as answer:
            raise failure(answer.problem, self.label, retry_at=answer.retry_at) from answer
        except requests.RequestException as error:
            raise self._unreachable(error) from error

    def post(
        self, url: str, obj: Any, content_type: str = client.ClientNetwork.JOSE_CONTENT_TYPE, **kwargs: Any
    ) -> Any:
        """Sign and send; again with a new nonce where the CA did not like it or the connection was lost.

        So a request may reach the CA twice, which every caller must be able to bear.
        """
        bad_nonces = lost = 0
        while True:
            try:
                return self._post_once(url, obj, content_type, **kwargs)
            except Answer as answer:
                bad_nonces += 1
                if answer.problem.code != "badNonce" or bad_nonces > BAD_NONCE_RETRIES:
                    raise failure(answer.problem, self.label, retry_at=answer.retry_at) from answer
            except (requests.exceptions.SSLError, requests.ConnectTimeout) as error:
                raise self._unreachable(error) from error
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                lost += 1
                if lost > LOST_CONNECTION_RETRIES:
                    raise self._unreachable(error) from error
            except requests.RequestException as error:
                raise self._unreachable(error) from error

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        """Keeps the nonce of every answer, also of an error's; never follows a redirect off the checked address."""
        self._check_address(url)
        kwargs["timeout"] = self._timeout
        kwargs["allow_redirects"] = False
        response = super()._send_request(method, url, *args, **kwargs)
        nonce = response.headers.get(self.REPLAY_NONCE_HEADER, "")
        if _is_nonce(nonce):
            self._pool.append(nonce)
        return response

    def _check_address(self, url: str) -> None:
        origin = url.split("/", 3)[:3]
        key = "/".join(origin)
        if key in self._checked:
            return
        address_check(url, allow_private=self._allow_private)
        self._checked.add(key)
        if not self._proxied:
            # Read once: left to requests, the environment is gone through again at every request.
            self.session.proxies.update(requests.utils.get_environ_proxies(url))
            self.session.trust_env = False
            self._proxied = True

    def _add_nonce(self, response: requests.Response) -> None:
        """Kept already, in `_send_request`: a nonce twice in the pool would be refused the second time."""

    def _get_nonce(self, url: str, new_nonce_url: str) -> Any:
        """First in, first out: the oldest is the likeliest to be forgotten by the CA, and is best tried early."""
        if not self._pool:
            self._check_response(self.head(new_nonce_url or url))
        if not self._pool:
            raise AcmeRetry(f"{self.label} gave no usable nonce.", advice="The CA has trouble; try again later.")
        return b64decode(self._pool.popleft())

    @classmethod
    def _check_response(cls, response: requests.Response, content_type: str | None = None) -> requests.Response:
        """Parsed first: 409, 429 and 503 keep their problem and Retry-After, and what is no JSON is survived."""
        retry_at = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
        if response.is_redirect:
            moved = f"It redirects to {response.headers.get('Location', 'another address')}"
            raise Answer(Problem(status=response.status_code, detail=moved), retry_at)
        if not response.ok:
            raise Answer(Problem.from_answer(response.status_code, response.text), retry_at)
        if content_type == cls.JSON_CONTENT_TYPE:
            try:
                response.json()
            except ValueError:
                detail = "It answered with something that is not JSON"
                raise Answer(Problem(detail=detail, document={"body": response.text[:2000]}), retry_at) from None
        return response

    def _unreachable(self, error: requests.RequestException) -> AcmeFailure:
        reason = _reason(error)
        if isinstance(error, requests.exceptions.SSLError):
            return AcmeRefused(
                f"The certificate of {self.label} is not trusted here: {reason}.",
                advice="If it is your own CA, give its root certificate as the CA bundle.",
                code="acme-tls",
            )
        return AcmeRetry(
            f"{self.label} cannot be reached: {reason}.",
            advice="Check that this machine may connect to the directory's address.",
            code="acme-unreachable",
        )


def _is_nonce(text: str) -> bool:
    """base64url without padding (RFC 8555 §6.5.1), in the form that encoding brings back: it goes out as it came."""
    try:
        return bool(text) and b64encode(b64decode(text)).decode() == text
    except ValueError:
        return False


def _algorithm(key: JWK | None) -> JWASignature:
    if isinstance(key, JWKEC):
        return {256: ES256, 384: ES384, 521: ES512}[key.key.key_size]
    return RS256


def _reason(error: BaseException) -> str:
    """The innermost cause in its own words; what wraps it repeats addresses and object ids."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (item for item in error.args if isinstance(item, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
    return re.sub(r"^<?[A-Za-z0-9_.]+ object at 0x[0-9a-f]+>?:?\s*|^[A-Za-z]+\(.*?\):\s*", "", str(text)).rstrip(".")
