"""Asks this node's listener once what it serves, in a process of its own: silence must not hold the supervisor."""

from certs.services.proofs import proofs_renew


def main() -> None:
    proofs_renew()


if __name__ == "__main__":
    main()
