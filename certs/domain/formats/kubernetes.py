"""Kubernetes Secrets as YAML: `kubectl apply -f FILE`.

https://kubernetes.io/docs/concepts/configuration/secret/ (kinds and names), RFC 1123 (names).
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from certs.domain.formats import jks, pem, pkcs12
from certs.domain.formats.base import Format, Group, Material, Need, TrustStoreOptions, password_option
from certs.domain.options import OptionRefused, option
from certs.domain.pem import certificate_pem

_TYPE = "application/yaml"  # RFC 9512
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)  # RFC 1123 label, 63 characters
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")  # RFC 1123 subdomain, 253 characters
_NAME_HELP = "Small letters, digits, hyphens and dots. Empty: made of the certificate's name."


@dataclass(frozen=True)
class TlsOptions:
    name: str = option("Name of the Secret", default="", help=_NAME_HELP)
    namespace: str = option("Namespace", default="", help="Empty: the one that kubectl uses.")


@dataclass(frozen=True)
class StoresOptions:
    password: str = password_option("Password of both stores")
    name: str = option("Name of the Secret", default="", help=_NAME_HELP)
    namespace: str = option("Namespace", default="", help="Empty: the one that kubectl uses.")
    with_password: bool = option(
        "With the password", default=False, help="As a further value, “password”, which the program can be given."
    )


def _tls(material: Material, options: TlsOptions) -> bytes:
    values = {
        "tls.crt": pem.fullchain_pem(material, pem.ChainOptions()),
        "tls.key": pem.key_pem(material, pem.KeyOptions()),
    }
    if root := material.whole_chain.root:
        values["ca.crt"] = certificate_pem(root).encode()
    return _secret("kubernetes.io/tls", _name(options.name, material, "tls"), options.namespace, values)


def _stores(material: Material, options: StoresOptions) -> bytes:
    """keystore.p12 and truststore.jks, as Kestra and other Java programs mount them."""
    values = {
        "keystore.p12": pkcs12.key_store(material, pkcs12.Options(password=options.password)),
        "truststore.jks": jks.trust_store(material, TrustStoreOptions(options.password)),
    }
    if options.with_password:
        values["password"] = options.password.encode()
    return _secret("Opaque", _name(options.name, material, "stores"), options.namespace, values)


def _secret(kind: str, name: str, namespace: str, values: Mapping[str, bytes]) -> bytes:
    namespace = _checked(namespace, _NAMESPACE, 63, "namespace")
    lines = ["apiVersion: v1", "kind: Secret", f"type: {kind}", "metadata:", f'  name: "{name}"']
    if namespace:
        lines.append(f'  namespace: "{namespace}"')
    lines.append("data:")
    lines += [f"  {key}: {b64encode(value).decode('ascii')}" for key, value in values.items()]
    return ("\n".join(lines) + "\n").encode("ascii")


def _name(wished: str, material: Material, suffix: str) -> str:
    return _checked(wished, _NAME, 253, "name") or secret_name(material.name, suffix)


def secret_name(name: str, suffix: str) -> str:
    """www-example-com-tls."""
    text = re.sub(r"[^a-z0-9]+", "-", name.lower().replace("*", "wildcard"))[:50].strip("-")
    return f"{text or 'certificate'}-{suffix}"


def _checked(text: str, pattern: re.Pattern[str], limit: int, field: str) -> str:
    if text and (len(text) > limit or not pattern.fullmatch(text)):
        raise OptionRefused(
            f"“{text[:60]}” is no {field} for Kubernetes.",
            field=field,
            advice="Use small letters, digits and hyphens, a letter or digit first and last.",
        )
    return text


TLS = Format(
    "kubernetes-tls",
    "Kubernetes Secret (tls)",
    "kubernetes.io/tls for Ingress and Gateway; with ca.crt where the root is known.",
    Group.KUBERNETES,
    ".tls-secret.yaml",
    _TYPE,
    frozenset({Need.CERTIFICATE, Need.KEY}),
    _tls,
    TlsOptions,
)
STORES = Format(
    "kubernetes-stores",
    "Kubernetes Secret (key stores)",
    "keystore.p12 and truststore.jks in one Secret, for Java programs such as Kestra.",
    Group.KUBERNETES,
    ".stores-secret.yaml",
    _TYPE,
    frozenset({Need.CERTIFICATE, Need.KEY}),
    _stores,
    StoresOptions,
)
