"""How the CA is reached: `acme.client.ClientNetwork` with what it lacks (nonces, errors, lost connections, roots).

A Network belongs to one flow at a time; `certs/acme/sessions.py` sees to that.
"""

import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import requests
from acme import client, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.b64 import b64decode, b64encode
from josepy.jwa import ES256, ES384, ES512, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA
from urllib3.exceptions import NewConnectionError

from certs.acme.problems import NOT_JSON, Problem, failure, retry_at
from certs.domain.errors import AcmeFailure, AcmeRefused, AcmeRetry, KeyRefused, Unavailable
from certs.domain.keys import Key
from certs.transports import outbound, outbound_errors
from certs.transports.connections import Adapter, trust_context
from certs.transports.line import CA, Line
from certs.transports.outbound import CONNECT_SECONDS, READ_SECONDS
from certs.transports.outbound_errors import ProxyTrouble
from portal import clock

WHOLE_SECONDS = 2 * READ_SECONDS  # for one request and its answer
BAD_NONCE_RETRIES = 10
LOST_CONNECTION_RETRIES = 3
UNREACHABLE, PROXY = "acme-unreachable", "acme-proxy"
UNTRUSTED = "acme-untrusted"  # not "acme-tls": that is what a CA says of the server it has asked
NO_ANSWER = "acme-no-answer"  # the code of what was sent, and may have been carried out

# RFC 8555 §7.1.6 knows it, acme 5.9.0 does not: without it the reading of such an authorization raises.
if "expired" not in messages.Status.POSSIBLE_NAMES:
    messages.Status("expired")


class Answer(errors.Error):
    """An answer outside 2xx, with everything it said."""

    def __init__(self, problem: Problem, retry_at: datetime | None) -> None:
        super().__init__(problem.sentence)
        self.problem = problem
        self.retry_at = retry_at


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
        super().__init__(key, alg=algorithm_of(key), user_agent=outbound.user_agent(CA, version))
        self.label = label
        self._pool: deque[str] = deque()
        self._line = Line(CA, allow_private=allow_private)
        self._proxies: dict[str, dict[str, str]] = {}  # by origin
        self._timeout = (min(CONNECT_SECONDS, read_seconds), read_seconds)
        self._headers = requests.utils.default_headers()
        self._headers["User-Agent"] = self.user_agent
        seconds = min(WHOLE_SECONDS, 2 * read_seconds)
        self.session.mount("https://", Adapter(self._line, trust_context(ca_bundle), retries=retries, seconds=seconds))

    def close(self) -> None:
        self.session.close()

    @contextmanager
    def signing_with(self, key: Key) -> Iterator[None]:
        """Sign with another key, bare: not as the account. Raises KeyRefused."""
        kept = self.key, self.alg, self.account
        jwk = jwk_of(key)
        self.key, self.alg, self.account = jwk, algorithm_of(jwk), None
        try:
            yield
        finally:
            self.key, self.alg, self.account = kept

    def get(self, url: str, content_type: str = client.ClientNetwork.JSON_CONTENT_TYPE, **kwargs: Any) -> Any:
        try:
            return super().get(url, content_type, **kwargs)
        except Answer as answer:
            raise failure(answer.problem, self.label, retry_at=answer.retry_at) from answer
        except requests.RequestException as error:
            raise self._unreachable(error) from error

    def post(
        self,
        url: str,
        obj: Any,
        content_type: str = client.ClientNetwork.JOSE_CONTENT_TYPE,
        *,
        resend: int = LOST_CONNECTION_RETRIES,
        **kwargs: Any,
    ) -> Any:
        """Sign and send; again with a new nonce where the CA did not like it or the connection was lost.

        So a request may reach the CA twice; `resend` bounds how often where its caller cannot well bear that.
        """
        bad_nonces = lost = 0
        sent = False  # once, and nobody knows what became of it
        while True:
            try:
                return self._post_once(url, obj, content_type, **kwargs)
            except Answer as answer:
                bad_nonces += 1
                if answer.problem.code != "badNonce" or bad_nonces > BAD_NONCE_RETRIES:
                    raise failure(answer.problem, self.label, retry_at=answer.retry_at) from answer
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                lost += 1
                sent = sent or _was_sent(error)
                if lost > resend or isinstance(error, requests.exceptions.SSLError | requests.ConnectTimeout):
                    raise self._unreachable(error, sent=sent) from error
            except requests.RequestException as error:
                raise self._unreachable(error, sent=sent or _was_sent(error)) from error
            except AcmeRetry as error:
                if sent and error.code in {UNREACHABLE, PROXY}:
                    error.code = NO_ANSWER
                raise

    def _wrap_in_jws(self, obj: Any, nonce: str, url: str) -> str:
        """RFC 8555 §6.2, the flattened form. Built here: josepy's own classes take four times the CPU for it."""
        if self.key is None:
            raise AcmeRefused("There is no account key.")
        header: dict[str, Any] = {"alg": self.alg.name, "nonce": nonce, "url": url}
        if self.account is not None:
            header["kid"] = self.account["uri"]
        else:
            header["jwk"] = self.key.public_key().to_json()
        protected = b64encode(json.dumps(header).encode())
        payload = b64encode(obj.json_dumps().encode()) if obj else b""
        signature = b64encode(self.alg.sign(self.key.key, protected + b"." + payload))
        parts = {"protected": protected, "payload": payload, "signature": signature}
        return json.dumps({name: part.decode() for name, part in parts.items()})

    def _send_request(
        self, method: str, url: str, *, data: str | None = None, headers: dict[str, str] | None = None, **_: Any
    ) -> requests.Response:
        """Keeps the nonce of every answer, also of an error's; never follows a redirect off the checked address.

        Straight to the adapter: what a session does around it (cookies, redirects, hooks, settings merged for each
        request) is not for a CA, and costs as much CPU as the request itself.
        """
        proxies = self._way(url)
        request = requests.PreparedRequest()
        request.prepare_method(method)
        request.prepare_url(url, None)
        request.headers = self._headers.copy()
        request.headers.update(headers or {})
        request.prepare_body(data, None)
        adapter = self.session.get_adapter(request.url or url)
        try:
            response = adapter.send(request, timeout=self._timeout, proxies=proxies)
        except ProxyTrouble as error:
            raise AcmeRetry(error.message, advice=error.advice, code=PROXY) from error
        except Unavailable as error:
            code = "acme-host" if error.code == "host-unknown" else UNREACHABLE
            raise AcmeRetry(error.message, advice=error.advice, code=code) from error
        response.encoding = "utf-8"  # no guessing: RFC 8259 §8.1, and PEM is ASCII
        nonce = response.headers.get(self.REPLAY_NONCE_HEADER, "")
        if _is_nonce(nonce):
            self._pool.append(nonce)
        return response

    def _way(self, url: str) -> dict[str, str]:
        """Judged once for each origin; the address itself where the connection is made."""
        origin = "/".join(url.split("/", 3)[:3])
        if origin not in self._proxies:
            outbound.url_check(url)
            self._proxies[origin] = outbound.proxies_for(url, self._line)
        return self._proxies[origin]

    def _add_nonce(self, response: requests.Response) -> None:
        """Kept already, in `_send_request`: a nonce twice in the pool would be refused the second time."""

    def _get_nonce(self, url: str, new_nonce_url: str) -> Any:
        """First in, first out: the oldest is the likeliest to be forgotten by the CA, and is best tried early."""
        if not self._pool:
            self._check_response(self.head(new_nonce_url or url))
        if not self._pool:
            raise AcmeRetry(f"{self.label} gave no usable nonce.", advice="The CA has trouble; try again later.")
        return self._pool.popleft()

    @classmethod
    def _check_response(cls, response: requests.Response, content_type: str | None = None) -> requests.Response:
        """Parsed first: 409, 429 and 503 keep their problem and Retry-After, and what is no JSON is survived."""
        later = retry_at(response.headers, clock.real())
        if response.is_redirect:
            moved = f"It redirects to {response.headers.get('Location', 'another address')}"
            raise Answer(Problem(status=response.status_code, detail=moved), later)
        if not response.ok:
            raise Answer(Problem.from_answer(response.status_code, response.text), later)
        if content_type == cls.JSON_CONTENT_TYPE:
            try:
                response.json()
            except NOT_JSON:
                problem = Problem.from_answer(response.status_code, response.text)
                raise Answer(replace(problem, detail="It answered with something that is not JSON"), later) from None
        return response

    def _unreachable(self, error: requests.RequestException, *, sent: bool = False) -> AcmeFailure:
        reason = outbound_errors.reason(error)
        if isinstance(error, requests.exceptions.SSLError):
            own = "If it is your own CA, give its root certificate as the CA bundle."
            return AcmeRefused(
                f"The certificate of {self.label} is not trusted here: {reason}.",
                advice=f"{own} {outbound_errors.mend(error)}".strip(),
                code=UNTRUSTED,
            )
        if sent:
            return AcmeRetry(
                f"{self.label} gave no answer: {reason}.",
                advice="Check that this machine may connect to the directory's address.",
                code=NO_ANSWER,
            )
        return AcmeRetry(
            f"{self.label} cannot be reached: {reason}.",
            advice="Check that this machine may connect to the directory's address, or set HTTPS_PROXY if it goes out "
            "through a proxy.",
            code=UNREACHABLE,
        )


def _was_sent(error: requests.RequestException) -> bool:
    """Whether a POST failed only after there was a connection to send it over."""
    connecting = any(
        isinstance(one, requests.ConnectTimeout | NewConnectionError) for one in outbound_errors.causes(error)
    )
    return error.request is not None and error.request.method == "POST" and not connecting


def _is_nonce(text: str) -> bool:
    """base64url without padding (RFC 8555 §6.5.1), in the form that encoding brings back: it goes out as it came."""
    try:
        return bool(text) and b64encode(b64decode(text)).decode() == text
    except ValueError:
        return False


def jwk_of(key: Key) -> JWK:
    """Raises KeyRefused."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return JWKEC(key=key)
    if isinstance(key, rsa.RSAPrivateKey):
        return JWKRSA(key=key)
    raise KeyRefused("A CA takes no request that is signed with an Ed25519 key.", advice="Use an EC P-256 key.")


def algorithm_of(key: JWK | None) -> JWASignature:
    if isinstance(key, JWKEC):
        return {256: ES256, 384: ES384, 521: ES512}[key.key.key_size]
    return RS256
