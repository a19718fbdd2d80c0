"""Ready configuration for servers that are to use a certificate, with the names of the files as they are downloaded.

tests/e2e/test_snippets.py puts these very texts and files into the servers, Micronaut and cert-manager excepted.
PASSWORD stands where the person's own goes.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

from certs.domain.formats.kubernetes import secret_name
from certs.domain.names import is_address

NAMES_LIMIT = 50  # in one line; the rest is counted in a comment
# What stands in a configuration must not be able to end a line or a value, whatever an imported certificate says.
_DNS = re.compile(
    r"(?=.{1,253}$)(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_PLACE = "/etc/ssl/bindery"


@dataclass(frozen=True)
class AcmeFacts:
    """Of the account that a certificate comes from."""

    directory_url: str
    email: str = ""
    eab_kid: str = ""
    ca_bundle: str = ""  # PEM, where the directory itself has a private CA


@dataclass(frozen=True)
class Facts:
    """`stem` begins the names of the files, `names` are those of the certificate, `key_type` is of domain.keys."""

    stem: str
    names: tuple[str, ...]
    key_type: str
    acme: AcmeFacts | None = None
    is_ca: bool = False

    @property
    def dns_names(self) -> list[str]:
        return [name for name in self.names if _DNS.fullmatch(name)]


@dataclass(frozen=True)
class File:
    """`format` is an id of domain.formats; `path` is where the snippet looks for it."""

    format: str
    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Snippet:
    """`place` says where `text` stands, `check` which command takes it over, `source` is the maker's document."""

    id: str
    label: str
    text: str
    place: str
    source: str
    files: tuple[File, ...] = ()
    check: str = ""

    @property
    def rows(self) -> int:
        """Lines of a field that shows it, and one for the bar below them."""
        return len(self.text.splitlines()) + 1


def snippets_for(facts: Facts) -> list[Snippet]:
    """A CA serves nothing itself: of one it is how others come to trust it."""
    makers = _OF_AUTHORITIES if facts.is_ca else _SNIPPETS
    return [snippet for make in makers if (snippet := make(facts)) is not None]


def _nginx(facts: Facts) -> Snippet:
    files = _pem_files(facts)
    names = _listed(facts)
    text = f"""{_more(facts, "# ")}server {{
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name {" ".join(names) or "_"};

    ssl_certificate     {files[0].path};
    ssl_certificate_key {files[1].path};
    ssl_protocols       TLSv1.2 TLSv1.3;
}}
"""
    return Snippet(
        "nginx",
        "nginx",
        text,
        "A file of its own below /etc/nginx/conf.d, or these lines in the server block that is there.",
        "https://nginx.org/en/docs/http/configuring_https_servers.html",
        files,
        "sudo nginx -t && sudo systemctl reload nginx",
    )


def _apache(facts: Facts) -> Snippet:
    files = _pem_files(facts)
    names = _listed(facts)
    # A ServerName is one name; a wildcard stands among the aliases only.
    first = next((name for name in names if not name.startswith("*.")), "")
    first = first or (names[0].replace("*", "www", 1) if names else "")
    aliases = [name for name in names if name != first]
    lines = [f"    ServerName {first}"] if first else []
    lines += [f"    ServerAlias {' '.join(aliases)}"] if aliases else []
    head = "".join(f"{line}\n" for line in lines)
    text = f"""{_more(facts, "# ")}<VirtualHost *:443>
{head}    SSLEngine on
    SSLProtocol -all +TLSv1.2 +TLSv1.3
    SSLCertificateFile    {files[0].path}
    SSLCertificateKeyFile {files[1].path}
</VirtualHost>
"""
    return Snippet(
        "apache",
        "Apache",
        text,
        "A file of its own below /etc/apache2/sites-enabled, or these lines in the VirtualHost that is there. It needs "
        "mod_ssl: sudo a2enmod ssl",
        "https://httpd.apache.org/docs/2.4/mod/mod_ssl.html",
        files,
        "sudo apachectl configtest && sudo systemctl reload apache2",
    )


def _haproxy(facts: Facts) -> Snippet:
    file = File("bundle", f"/etc/haproxy/certs/{facts.stem}.pem")
    text = f"""frontend https
    mode http
    bind :443 ssl crt {file.path} alpn h2,http/1.1 ssl-min-ver TLSv1.2
    default_backend web

backend web
    mode http
    server web 127.0.0.1:8080
"""
    return Snippet(
        "haproxy",
        "HAProxy",
        text,
        "In /etc/haproxy/haproxy.cfg; the line with bind is what a frontend that is there needs.",
        "https://docs.haproxy.org/2.6/configuration.html#5.1-crt",
        (file,),
        "sudo haproxy -c -f /etc/haproxy/haproxy.cfg && sudo systemctl reload haproxy",
    )


def _tomcat(facts: Facts) -> Snippet:
    file = File("pkcs12", f"conf/{facts.stem}.p12")
    kind = "RSA" if facts.key_type.startswith("rsa") else "EC" if facts.key_type.startswith("ec-") else "UNDEFINED"
    text = f"""<Connector port="8443" protocol="org.apache.coyote.http11.Http11NioProtocol"
           scheme="https" secure="true" SSLEnabled="true">
    <SSLHostConfig protocols="TLSv1.2+TLSv1.3">
        <Certificate type="{kind}"
                     certificateKeystoreFile="{file.path}"
                     certificateKeystoreType="PKCS12"
                     certificateKeystorePassword="PASSWORD"
                     certificateKeyAlias="{facts.stem}" />
    </SSLHostConfig>
</Connector>
"""
    return Snippet(
        "tomcat",
        "Tomcat",
        text,
        "In conf/server.xml, inside Service. PASSWORD is that of the key store; paths count from CATALINA_BASE.",
        "https://tomcat.apache.org/tomcat-10.1-doc/ssl-howto.html",
        (file,),
        "sudo systemctl restart tomcat10",
    )


def _micronaut(facts: Facts) -> Snippet:
    files = (File("pkcs12", "/app/ssl/server.p12"), File("truststore-jks", "/app/ssl/truststore.jks"))
    text = f"""micronaut:
  security:
    x509:
      enabled: false
  ssl:
    enabled: true
  server:
    ssl:
      enabled: true
      port: 8443
      clientAuthentication: want
      keyStore:
        path: file:{files[0].path}
        password: PASSWORD
        type: PKCS12
      trustStore:
        path: file:{files[1].path}
        password: PASSWORD
        type: JKS
"""
    return Snippet(
        "micronaut",
        "Micronaut and Kestra",
        text,
        "In application.yml, of Kestra in KESTRA_CONFIGURATION. clientAuthentication: want asks clients for a "
        "certificate of the trust store's CA, need refuses those without one; leave the line out where none is wanted.",
        "https://kestra.io/docs/configuration-guide/ssl",
        files,
    )


def _java(facts: Facts) -> Snippet:
    file = File("truststore-jks", "/app/ssl/truststore.jks")
    text = f'JAVA_OPTS: "-Djavax.net.ssl.trustStore={file.path} -Djavax.net.ssl.trustStorePassword=PASSWORD"\n'
    return Snippet(
        "java-client",
        "Java programs that trust it" if facts.is_ca else "Java programs that call this server",
        text,
        "In the environment of the program, of Kestra beside KESTRA_CONFIGURATION. The trust store takes the place of "
        "Java's own: what the program calls besides must be trusted by it too.",
        "https://docs.oracle.com/en/java/javase/17/security/java-secure-socket-extension-jsse-reference-guide.html",
        (file,),
    )


def _kubernetes(facts: Facts) -> Snippet:
    file = File("kubernetes-tls", f"{facts.stem}.tls-secret.yaml")
    names = [name for name in _listed(facts) if not is_address(name)]  # an Ingress takes DNS names only
    secret = secret_name(facts.stem, "tls")
    hosts = "".join(f'        - "{name}"\n' for name in names)
    rules = "".join(
        f"""    - host: "{name}"
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: web
                port:
                  number: 80
"""
        for name in names[:1]
    )
    text = f"""{_more(facts, "# ")}apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {secret.removesuffix("-tls")}
spec:
  tls:
    - secretName: {secret}
{f"      hosts:{chr(10)}{hosts}" if hosts else ""}{f"  rules:{chr(10)}{rules}" if rules else ""}"""
    return Snippet(
        "kubernetes",
        "Kubernetes Ingress",
        text,
        "Apply the Secret first; the Ingress, in the same namespace, names it.",
        "https://kubernetes.io/docs/concepts/services-networking/ingress/#tls",
        (file,),
        f"kubectl apply -f {file.path}",
    )


def _cert_manager(facts: Facts) -> Snippet | None:
    """For clusters that are to get certificates of the same CA by themselves, with an account of their own."""
    acme = facts.acme
    if acme is None:
        return None
    lines = [
        "apiVersion: cert-manager.io/v1",
        "kind: ClusterIssuer",
        "metadata:",
        "  name: acme",
        "spec:",
        "  acme:",
        f"    server: {json.dumps(acme.directory_url)}",
    ]
    lines += [f"    email: {json.dumps(acme.email)}"] if acme.email else []
    lines += [f"    caBundle: {b64encode(acme.ca_bundle.encode()).decode()}"] if acme.ca_bundle else []
    lines += ["    privateKeySecretRef:", "      name: acme-account-key"]
    if acme.eab_kid:
        lines += [
            "    externalAccountBinding:",
            f"      keyID: {json.dumps(acme.eab_kid)}",
            "      keySecretRef:",
            "        name: acme-eab",
            "        key: secret",
        ]
    lines += ["    solvers:", "      - http01:", "          ingress:", "            ingressClassName: nginx"]
    remark = "http01 needs port 80 of the cluster to be reached from the CA."
    if any(name.startswith("*.") for name in facts.dns_names):
        remark = "A name with a * is given by dns01 only: put the solver of your DNS provider beside http01."
    if acme.eab_kid:
        remark += " The Secret acme-eab holds the HMAC key of the CA; it is not shown here."
    return Snippet(
        "cert-manager",
        "cert-manager (ClusterIssuer)",
        "\n".join(lines) + "\n",
        "The cluster gets certificates of the same CA by itself then, with an account key of its own, and Bindery does "
        f"not know them. {remark}",
        "https://cert-manager.io/docs/configuration/acme/",
        (),
        "kubectl apply -f FILE",
    )


def _system(facts: Facts) -> Snippet:
    file = File("trust-pem", f"/usr/local/share/ca-certificates/{facts.stem}.crt")
    return Snippet(
        "system-trust",
        "Debian and Ubuntu trust it",
        "sudo update-ca-certificates\n",
        "Once the file is in place, everything on the machine that asks the system's store trusts what this CA signed. "
        "Firefox and Java have stores of their own.",
        "https://manpages.debian.org/bookworm/ca-certificates/update-ca-certificates.8.en.html",
        (file,),
    )


def _nginx_clients(facts: Facts) -> Snippet:
    file = File("trust-pem", f"{_PLACE}/{facts.stem}.ca.pem")
    return Snippet(
        "nginx-clients",
        "nginx asks clients for its certificates",
        f"ssl_client_certificate {file.path};\nssl_verify_client on;\nssl_verify_depth 3;\n",
        "In the server block. optional instead of on lets others in too; $ssl_client_verify tells them apart. "
        "The depth is for intermediates between the CA and the clients.",
        "https://nginx.org/en/docs/http/ngx_http_ssl_module.html#ssl_verify_client",
        (file,),
        "sudo nginx -t && sudo systemctl reload nginx",
    )


_OF_AUTHORITIES: tuple[Callable[[Facts], Snippet], ...] = (_system, _java, _nginx_clients)
_SNIPPETS: tuple[Callable[[Facts], Snippet | None], ...] = (
    _nginx,
    _apache,
    _haproxy,
    _tomcat,
    _micronaut,
    _java,
    _kubernetes,
    _cert_manager,
)


def _pem_files(facts: Facts) -> tuple[File, File]:
    return (
        File("fullchain", f"{_PLACE}/{facts.stem}.fullchain.pem"),
        File("key", f"{_PLACE}/{facts.stem}.key.pem"),
    )


def _listed(facts: Facts) -> list[str]:
    return facts.dns_names[:NAMES_LIMIT]


def _more(facts: Facts, comment: str) -> str:
    left_out = len(facts.dns_names) - NAMES_LIMIT
    return f"{comment}{left_out} more names of the certificate are not listed.\n" if left_out > 0 else ""
