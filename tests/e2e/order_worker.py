"""A worker of its own process for test_misbehaving_kill.py: `make`, `run` or `show` on the database in BINDERY_HOME."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

NAME = "killed.example.test"


def main(what: str, directory_url: str = "", bundle_file: str = "") -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    if what == "make":
        make(directory_url, bundle_file)
    elif what == "run":
        from certs.services.order_runner import orders_run

        orders_run()
    else:
        show()


def make(directory_url: str, bundle_file: str) -> None:
    from tests.harness.issuing import account_at, order_for

    ca = SimpleNamespace(directory_url=directory_url, ca_bundle_pem=Path(bundle_file).read_text())
    order_for(account_at(ca), NAME)


def show() -> None:
    from certs.models import Order, PrivateKey

    order = Order.objects.get()
    keys = list(PrivateKey.objects.exclude(sealed="").values_list("spki_sha256", flat=True))
    print(json.dumps({"state": order.state, "error": order.error_message, "keys": keys}))


if __name__ == "__main__":
    main(*sys.argv[1:])
