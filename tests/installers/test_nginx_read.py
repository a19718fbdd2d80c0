"""What `nginx -T` prints, read into nodes. The texts are as nginx prints them."""

import pytest

from certs.domain.errors import InputError
from certs.domain.installation import NodeSeen
from certs.installers.base import InstallRefused
from certs.installers.nginx import Nginx, Options, nodes_read

MAIN = "/etc/nginx/nginx.conf"


def printed(**files: str) -> str:
    named = {MAIN: files.pop("main"), **{f"/etc/nginx/{name}": text for name, text in files.items()}}
    return "".join(f"# configuration file {path}:\n{text}\n\n" for path, text in named.items())


def nodes(http: str, **files: str) -> list[NodeSeen]:
    return list(nodes_read(printed(main=f"events {{}}\nhttp {{\n{http}\n}}", **files), MAIN))


def test_a_site_with_two_addresses_is_two_nodes_that_share_files() -> None:
    found = nodes(
        """
        server {
            listen 443 ssl http2;
            listen [::]:8443 ssl;
            server_name www.example.org example.org;
            ssl_certificate tls/www.pem;
            ssl_certificate_key /etc/ssl/www.key;
        }"""
    )
    assert [(node.key, node.address, node.port, node.protocol) for node in found] == [
        ("*:443 www.example.org", "*", 443, "https"),
        (":::8443 www.example.org", "::", 8443, "https"),
    ]
    assert found[0].names == ("www.example.org", "example.org")
    assert found[0].alias == "example.org"
    assert found[0].files == {"fullchain": "/etc/nginx/tls/www.pem", "key": "/etc/ssl/www.key"}
    assert found[0].where == f"{MAIN}:4"


def test_includes_are_followed_among_what_was_printed_only() -> None:
    found = list(
        nodes_read(
            printed(
                main="http {\n include sites/*;\n include /etc/hostname;\n}",
                **{
                    "sites/a": "server { listen 80; server_name a.test; include snippets/tls.conf; }",
                    "sites/deep/b": "server { listen 81; }",
                    "snippets/tls.conf": "listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.pem;",
                },
            ),
            MAIN,
        )
    )
    assert [(node.name, node.port, node.protocol, dict(node.files)) for node in found] == [
        ("a.test", 80, "http", {}),
        ("a.test", 443, "https", {"whole": "/etc/nginx/a.pem"}),
    ]
    assert found[0].where == "/etc/nginx/sites/a:1"


def test_an_include_of_itself_ends() -> None:
    assert nodes("include loop.conf;", **{"loop.conf": "include loop.conf;\nserver { listen 90; }"})[0].port == 90


def test_a_certificate_is_inherited_and_a_server_s_own_stands_in_its_place() -> None:
    found = nodes(
        """
        ssl_certificate /c.pem; ssl_certificate_key /c.key;
        server { listen 443 ssl; server_name a.test; }
        server { listen 443 ssl; server_name b.test; ssl_certificate /b.pem; ssl_certificate_key /b.key; }
        server { listen 444; ssl on; }
        """
    )
    assert [node.files.get("fullchain") for node in found] == ["/c.pem", "/b.pem", "/c.pem"]


@pytest.mark.parametrize(
    ("listen", "address", "port"),
    [
        ("443 ssl", "*", 443),
        ("127.0.0.1:8443 ssl default_server", "127.0.0.1", 8443),
        ("10.0.0.7 ssl", "10.0.0.7", 80),
        ("[::1]:9443 ssl", "::1", 9443),
        ("[fd00::7] ssl", "fd00::7", 80),
        ("*:443 ssl", "*", 443),
        ("localhost:443 ssl", "localhost", 443),
    ],
)
def test_every_way_to_say_where(listen: str, address: str, port: int) -> None:
    (node,) = nodes(f"server {{ listen {listen}; ssl_certificate c; ssl_certificate_key k; }}")
    assert (node.address, node.port) == (address, port)


def test_what_is_no_place_for_a_certificate_is_left_out_or_says_why() -> None:
    found = nodes(
        """
        server { listen unix:/run/x.sock; listen 443 quic; server_name _ ~^x$ "" www.test .dot.test; }
        server { listen 1443 ssl; ssl_certificate $ssl_server_name.pem; ssl_certificate_key k; }
        server { listen 2443 ssl; ssl_certificate data:x; ssl_certificate_key k; }
        server { listen 3443 ssl; ssl_certificate a; ssl_certificate_key a.key;
                 ssl_certificate b; ssl_certificate_key b.key; }
        server { }
        """
    )
    assert [(node.port, bool(node.trouble), dict(node.files)) for node in found] == [
        (1443, True, {}),
        (2443, True, {}),
        (3443, True, {}),
        (80, False, {}),
    ]


def test_names_that_nobody_asks_for_are_not_asked_for() -> None:
    (node,) = nodes('server { server_name _ ~^x$ "" www.test .dot.test *.w.test x.*; }')
    assert node.names == ("www.test", "dot.test", "*.w.test")


def test_quotes_comments_maps_and_unknown_words_do_no_harm() -> None:
    found = nodes(
        "map $x $y { default 'a;b{'; }\r\n# server { listen 1; }\r\nlua_thing \"}\";\r\n"
        "server { listen 443 ssl; ssl_certificate 'my cert.pem'; ssl_certificate_key \"k\"; }\r\n"
    )
    assert found[0].files["fullchain"] == "/etc/nginx/my cert.pem"


@pytest.mark.parametrize(
    "text", ["", "# configuration file /other:\nhttp {}\n", f"# configuration file {MAIN}:\nhttp {{"]
)
def test_what_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(InputError):
        list(nodes_read(text, MAIN))


def test_a_command_that_is_none_is_said_and_not_run() -> None:
    with pytest.raises(InstallRefused, match="no command"):
        Nginx(Options(restart_command="systemctl 'restart")).restart(None)  # type: ignore[arg-type]  # not reached
